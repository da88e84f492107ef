/** docs/launcher.md against the program: every option is there and said to work or not, every example is a command line that tsrun takes. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { splitCommand } from '../../../launcher/agent_command';
import { parseCommandLine } from '../../../launcher/args';
import { options } from '../../../launcher/options';
import type { Outside } from '../../../launcher/settings';

const root = path.join(__dirname, '..', '..', '..').replace(/[/\\]dist$/, '');
const page = readFileSync(path.join(root, 'docs', 'launcher.md'), 'utf8');
const readme = readFileSync(path.join(root, 'README.md'), 'utf8');

/** The files that the examples speak of. */
const files: Record<string, string> = { 'job.yaml': 'np: 2', 'ranks.env': 'KEY=value' };
const outside: Outside = {
  cwd: root,
  env: {},
  readText: (file) => files[path.basename(file)] ?? readFileSync(file, 'utf8'),
  isFile: () => true,
};
const parsed = (command: string) => parseCommandLine(splitCommand(command), outside, 'bench.js');
const dashed = (name: string): string => (name.length === 1 ? `-${name}` : `--${name}`);

/** `| names | meaning | example |` of the chapter on options. */
const rows = page
  .slice(page.indexOf('\n## Options'), page.indexOf('\n## Ends'))
  .split('\n')
  .filter((line) => line.startsWith('| `-'))
  .map((line) => {
    const [names = '', meaning = '', example = ''] = line.slice(2, -2).split(' | ');
    const words = [...names.matchAll(/`(--?[^\s`]+)/g)].map(([, word]) => word!);
    return { words, meaning, example: /^`(.*)`$/.exec(example)?.[1] ?? '' };
  });
const spelled = (name: string): string[] => [dashed(name), ...(name === 'np' ? ['-np'] : [])];

t.test('every option has a row with all its names, and those without effect say so', async (t) => {
  for (const { name, aliases = [], isNegatable, isLater, isMeaningless } of options) {
    if (isMeaningless) {
      t.match(page, `\`--${name}\``, `--${name} is listed`);
      continue;
    }
    const own = rows.filter(({ words }) => spelled(name).some((word) => words.includes(word)));
    t.equal(own.length, 1, `${name} has one row`);
    for (const other of [...aliases, ...(isNegatable ? [`no-${name}`] : [])])
      t.ok(own[0]?.words.includes(dashed(other)), `${name}: ${dashed(other)} stands there as well`);
    t.equal(/no effect in this version/.test(own[0]?.meaning ?? ''), isLater ?? false, `${name}: what is said of its effect is true`);
  }
});

t.test('each row is about an option that there is, and its example uses it', async (t) => {
  const names = options.flatMap(({ name, aliases = [], isNegatable }) => [name, ...aliases, ...(isNegatable ? [`no-${name}`] : [])]);
  const known = new Set(names.flatMap(spelled));
  for (const { words, example } of rows) {
    for (const word of words) t.ok(known.has(word), `${word} is an option`);
    t.ok(
      words.some((word) => example.split(/[\s=]/).includes(word)),
      `'${example}' uses ${words.join(' or ')}`,
    );
    t.doesNotThrow(() => parsed(example.startsWith('-np') ? `${example} train.ts` : `-np 2 ${example} train.ts`), `'${example}' is taken`);
  }
});

t.test('the commands of the page and of the README are taken', async (t) => {
  for (const [name, text] of Object.entries({ page, readme })) {
    const lines = text.split('\n').flatMap((line) => /^(?:npx )?tsrun (-.*?|bench .*?)(?:\s{2,}\S.*)?$/.exec(line)?.[1] ?? []);
    t.ok(lines.length > 5, `${name}: there are some`);
    for (const line of lines) t.doesNotThrow(() => parsed(line), `${name}: ${line}`);
  }
});

t.test('links inside the page lead somewhere', async (t) => {
  const seen = new Map<string, number>();
  const anchors = new Set(
    [...page.matchAll(/^#+ (.*)$/gm)].map(([, title]) => {
      const plain = title!
        .toLowerCase()
        .replace(/[^\w\- ]/g, '')
        .replaceAll(' ', '-');
      const count = seen.get(plain) ?? 0;
      seen.set(plain, count + 1);
      return count === 0 ? plain : `${plain}-${count}`;
    }),
  );
  const links = [...page.matchAll(/\]\(#([^)]+)\)/g)].map(([, link]) => link!);
  t.ok(links.length > 10);
  for (const link of links) t.ok(anchors.has(link), `#${link}`);
});
