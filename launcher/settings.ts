/**
 * What tsrun's own words set: read by yargs from the table of options, over the config file, each text checked. Pure: files and environment are given.
 *
 * What is wrong is a LaunchError (exit 2) of one line that says what was given and what is expected.
 */
import path from 'node:path';
import yargs from 'yargs';
import { readConfigFile } from './config_file';
import { LaunchError } from './errors';
import { type Option, spellings } from './options';
import { dashed } from './words';

/** What the parser sees of the world. */
export interface Outside {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** @throws the system's error */
  readText(file: string): string;
  isFile(file: string): boolean;
}

function parser() {
  const made = yargs([])
    .scriptName('tsrun')
    .usage(
      'tsrun -np N [options] script.ts [arguments of the script]\ntsrun -np N [options] -- any command\ntsrun sweep -np 1,2,4 [--strategy S,T] [--vary NAME=V,W] [--repeats 5] [--out DIR] script.ts (tsrun sweep --help)\ntsrun bench allreduce|allgather|broadcast|… -np N [--sizes 1K..64M] [--dtype float32] [--op sum] [--compare gloo,openmpi]\ntsrun bench --calibrate FILE [-np N] [-H hosts] [--iterations 50]\ntsrun doctor [-H hosts] [options] [--json]\ntsrun install-tfjs-node [--gpu] [--from official|FILE|URL] [--tensorflow VERSION] [--index-url URL] [--sha256 HEX] [--force]',
    )
    .exitProcess(false)
    .help(false)
    .version(false)
    .wrap(Math.min(140, process.stdout.columns || 100))
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'greedy-arrays': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'short-option-groups': false,
      'strip-aliased': true,
    })
    .strictOptions()
    .fail((message, error) => {
      throw error ?? new LaunchError(message);
    });
  for (const [name, { option }] of spellings) {
    if (option.aliases?.includes(name)) continue;
    const isNegation = name !== option.name;
    made.option(name, {
      alias: isNegation ? undefined : option.aliases,
      type: option.value === undefined ? 'boolean' : 'string',
      group: `${option.group}:`,
      describe: `${isNegation ? `not --${option.name}` : option.help}${option.value ? ` [${option.value}]` : ''}${option.isLater ? ' (no effect in this version)' : ''}`,
    });
  }
  return made;
}

export async function helpText(): Promise<string> {
  return `${await parser().getHelp()}\n\n-np N is --np N. Every option can also stand in a --config-file; the environment of the ranks is described in the README.`;
}

export const optionOf = (name: string): Option => spellings.get(name)!.option;

/** Texts of each given option, in their order. */
export function parseOwn(own: readonly string[]): Map<Option, string[]> {
  let parsed: Record<string, unknown>;
  try {
    parsed = parser().parseSync([...own]) as Record<string, unknown>;
  } catch (error) {
    const unknown = /^Unknown arguments?: (.*)$/.exec((error as Error).message)?.[1];
    throw new LaunchError(
      unknown ? `unknown option ${unknown.split(', ').map(dashed).join(', ')}; tsrun --help lists them` : (error as Error).message,
    );
  }
  const given = new Map<Option, string[]>();
  for (const [name, value] of Object.entries(parsed)) {
    const spelling = spellings.get(name);
    if (!spelling || value === undefined || name === '_' || name === '$0') continue;
    const texts = [value].flat().map((one) => (spelling.option.value === undefined ? String(one === spelling.isOn) : String(one)));
    if (given.has(spelling.option) && given.get(spelling.option)!.at(-1) !== texts.at(-1))
      throw new LaunchError(`--${spelling.option.name} and --no-${spelling.option.name} contradict each other`);
    given.set(spelling.option, texts);
  }
  return given;
}

export interface Settings {
  number(name: string): number | undefined;
  text(name: string): string | undefined;
  texts(name: string): string[];
  isOn(name: string, fallback?: boolean): boolean;
  value<T>(name: string): T | undefined;
  /** The ranks' variables that the options set. */
  readonly env: Record<string, string>;
  readonly notices: string[];
}

/** Command line over config file, each text checked. @throws LaunchError */
export function checkedSettings(onLine: ReadonlyMap<Option, string[]>, outside: Outside): Settings {
  const file = onLine.get(optionOf('config-file'))?.at(-1);
  const fromFile =
    file === undefined
      ? { given: new Map<Option, string[]>(), meaningless: [] }
      : readConfigFile(file, readText(outside, file, 'config file'));
  const values = new Map<string, unknown>();
  const env: Record<string, string> = {};
  const take = (option: Option, texts: readonly string[], where: string): void => {
    const name = `${where}${dashed(option.name)}`;
    const parsed = texts.map((text) => {
      const value = option.parse(text);
      if (value === undefined) throw new LaunchError(`${name} is '${text}', but must be ${option.expects}`);
      return value;
    });
    values.set(option.name, option.isRepeatable ? parsed : parsed.at(-1));
    if (option.env !== undefined) env[option.env] = option.isRepeatable ? parsed.join(',') : spell(option, parsed.at(-1));
  };
  for (const [option, texts] of fromFile.given) if (!onLine.has(option)) take(option, texts, `config file ${file}: `);
  for (const [option, texts] of onLine) take(option, texts, '');
  const all = [...new Set([...fromFile.given.keys(), ...onLine.keys()])];
  return {
    number: (name) => values.get(name) as number | undefined,
    text: (name) => values.get(name) as string | undefined,
    texts: (name) => (values.get(name) as string[] | undefined) ?? [],
    isOn: (name, fallback = false) => (values.get(name) as boolean | undefined) ?? fallback,
    value: <T>(name: string) => values.get(name) as T | undefined,
    env,
    notices: noticesOf(all, fromFile.meaningless),
  };
}

function spell(option: Option, value: unknown): string {
  if (option.toEnv) return option.toEnv(value as never);
  return typeof value === 'boolean' ? (value ? '1' : '0') : String(value);
}

function noticesOf(given: readonly Option[], meaninglessKeys: readonly string[]): string[] {
  const meaningless = [...given.filter(({ isMeaningless }) => isMeaningless).map(({ name }) => dashed(name)), ...meaninglessKeys];
  const later = given.filter(({ isLater }) => isLater).map(({ name }) => dashed(name));
  const are = (list: readonly string[]): string => (list.length > 1 ? 'have' : 'has');
  return [
    ...(meaningless.length > 0
      ? [`${meaningless.join(', ')} ${are(meaningless)} no meaning in khorovod and ${meaningless.length > 1 ? 'are' : 'is'} ignored`]
      : []),
    ...(later.length > 0 ? [`${later.join(', ')} ${are(later)} no effect in this version`] : []),
  ];
}

/** @throws LaunchError the system's reason */
export function readText(outside: Outside, file: string, what: string): string {
  try {
    return outside.readText(path.resolve(outside.cwd, file));
  } catch (error) {
    throw new LaunchError(`the ${what} ${file} cannot be read: ${(error as Error).message}`);
  }
}
