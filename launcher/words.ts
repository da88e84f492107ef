/**
 * The words of the command line: which are tsrun's own, which the script's. Pure.
 *
 * tsrun's own options end at the first word that is no option: that is the script, and everything behind it is the script's, whatever it looks like.
 */
import { LaunchError } from './errors';
import { type Spelling, spellings } from './options';

/** Which option a word names, and the value written behind `=`. */
export function spelled(word: string): { spelling?: Spelling; inline?: string; name: string } {
  const equals = word.indexOf('=');
  const name = (equals < 0 ? word : word.slice(0, equals)).replace(/^--?/, '');
  return { spelling: spellings.get(name), inline: equals < 0 ? undefined : word.slice(equals + 1), name };
}

/**
 * tsrun's own words, each with its value behind `=`, and the command. `isAny`: it stood behind `--`.
 * @param others long names of a subcommand's own options, and whether they have a value
 */
export function splitWords(
  words: readonly string[],
  others: ReadonlyMap<string, boolean> = new Map(),
): { own: string[]; command: string[]; isAny: boolean } {
  const own: string[] = [];
  for (let i = 0; i < words.length; i += 1) {
    const word = words[i]!;
    if (word === '--') return { own, command: words.slice(i + 1), isAny: true };
    if (!word.startsWith('-') || word === '-') return { own, command: words.slice(i), isAny: false };
    const { spelling, inline, name } = spelled(word);
    const dashes = name.length > 1 ? '--' : '-';
    // As in mpirun, long names may stand behind one dash.
    if (others.get(name) && word.startsWith('--')) {
      const value = inline ?? words[(i += 1)];
      if (value === undefined) throw new LaunchError(`${word} needs a value`);
      own.push(`--${name}=${value}`);
    } else if (!spelling || (word.startsWith('--') && name.length === 1 && name !== 'x')) own.push(word);
    else if (spelling.option.value === undefined || inline !== undefined)
      own.push(`${dashes}${name}${inline === undefined ? '' : `=${inline}`}`);
    else {
      const count = spelling.option.words ?? 1;
      const values = words.slice(i + 1, i + 1 + count);
      if (values.length < count) throw new LaunchError(`${word} needs a value: ${spelling.option.expects}`);
      own.push(`${dashes}${name}=${values.join(' ')}`);
      i += count;
    }
  }
  return { own, command: [], isAny: false };
}

export const dashed = (name: string): string => (name.length === 1 ? `-${name}` : `--${name}`);
