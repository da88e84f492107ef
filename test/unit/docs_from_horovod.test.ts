/** docs/from-horovod.md against the program: every public name, option of DistributedOptimizer and variable is there; what it names exists, or is said to be not there yet. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { options, spellings } from '../../launcher/options';
import { knobs } from '../../src/config';
import * as hvd from '../../src/index';
import { loadTf } from '../../src/tensorflow/load';
import { checkedOptions } from '../../src/tensorflow/optimizer_options';

const root = path.join(__dirname, '..', '..', '..');
const page = readFileSync(path.join(root, 'docs', 'from-horovod.md'), 'utf8');
const api: Record<string, unknown> = hvd;
const publicNames = publicNamesOf(readFileSync(path.join(root, 'src', 'index.ts'), 'utf8'));

/** Values and types that it re-exports. */
function publicNamesOf(index: string): string[] {
  const lists = [...index.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '').matchAll(/export (?:type )?\{([^}]*)\}/g)];
  const starred = [...index.matchAll(/export \* as (\w+)/g)].map(([, name]) => name!);
  return [...lists.flatMap(([, list]) => list!.split(',').map((one) => one.trim().replace(/^type |^.* as /g, ''))), ...starred].filter(
    Boolean,
  );
}

const sectionOf = (title: string): string => {
  const from = page.indexOf(`\n## ${title}\n`);
  const until = page.indexOf('\n## ', from + 1);
  return page.slice(from, until < 0 ? undefined : until);
};
/** The cells that speak of this package: not the first of three, which is Horovod's. */
const ownCells = (text: string): string[][] =>
  text.split('\n').map((line) => {
    if (!line.startsWith('| ')) return [line];
    const cells = line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim());
    return cells.length === 3 ? cells.slice(1) : cells;
  });
interface Span {
  readonly code: string;
  readonly isNotYet: boolean;
}
const spansOf = (cell: string): Span[] =>
  [...cell.matchAll(/`([^`]+)`( \(not yet\))?/g)].map(([, code, mark]) => ({ code: code!, isNotYet: mark !== undefined }));
const spans = (text: string): Span[] => ownCells(text).flat().flatMap(spansOf);

const isPublic = (name: string): boolean => {
  const [first, ...rest] = name.split('.');
  if (!publicNames.includes(first!)) return false;
  const found = rest.reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], api[first!]);
  return rest.length === 0 || found !== undefined;
};
const both = (isThere: boolean, isNotYet: boolean): string =>
  isThere && isNotYet ? 'there, but said to be not yet there' : !isThere && !isNotYet ? 'not there, which is not said' : 'as said';

t.test('every public name is on the page, the members of its objects too', async (t) => {
  t.ok(publicNames.length > 60, `${publicNames.length} names`);
  const members = [hvd.callbacks, hvd.train].flatMap((object) => Object.keys(object).map((key) => [object, key] as const));
  const all = [...publicNames, ...members.map(([object, key]) => `${object === hvd.train ? 'train' : 'callbacks'}.${key}`)];
  const named = new Set(spans(page).flatMap(({ code }) => [...code.matchAll(/\bhvd\.([\w.]*\w)/g)].map(([, name]) => name!)));
  for (const name of all) t.ok(named.has(name), `hvd.${name}`);
});

t.test('what the page names is public, or not yet', async (t) => {
  const named = spans(page).flatMap(({ code, isNotYet }) =>
    [...code.matchAll(/\bhvd\.([\w.]*\w)/g)].map(([, name]) => ({ name: name!, isNotYet: isNotYet && code === `hvd.${name}` })),
  );
  t.ok(named.length > 100);
  for (const { name, isNotYet } of named) t.equal(both(isPublic(name), isNotYet), 'as said', `hvd.${name}`);
});

/** Refused as unknown, or as later work, before its value is looked at. */
function refusal(option: string, value: unknown): string | undefined {
  try {
    checkedOptions(loadTf(), { [option]: value });
  } catch (error) {
    if (/later version|has no option/.test((error as Error).message)) return (error as Error).message;
  }
  return undefined;
}

t.test('the options of DistributedOptimizer', async (t) => {
  const own = ownCells(sectionOf('Optimizers'))
    .flatMap(([cell]) => spansOf(cell ?? ''))
    .flatMap(({ code, isNotYet }) => {
      const [, name, value] = /^\{ (\w+): (.*) \}$/.exec(code) ?? [];
      return name ? [{ name, value: value!, isNotYet }] : [];
    });
  for (const { name, value, isNotYet } of own) {
    const meant = /^'.*'$/.test(value) ? value.slice(1, -1) : /^(\d+|true)$/.test(value) ? JSON.parse(value) : hvd.Compression.fp16;
    t.equal(both(refusal(name, meant) === undefined, isNotYet), 'as said', `${name}: ${value}`);
  }
  const known = /It has (.*)\.$/.exec(refusal('none', 1) ?? '')?.[1]?.split(', ') ?? [];
  t.ok(known.length >= 6);
  for (const name of known)
    t.ok(
      own.some((one) => one.name === name),
      `${name} has a row`,
    );
});

t.test('every variable is there, and those without effect say so', async (t) => {
  const later = new Set(options.flatMap(({ env, isLater }) => (env && isLater ? [env] : [])));
  const own = ownCells(sectionOf('Variables'))
    .flatMap(([cell]) => spansOf(cell ?? ''))
    .filter(({ code }) => /^[A-Z_]+$/.test(code));
  const known: string[] = Object.values(knobs).map(({ env }) => env);
  for (const env of known)
    t.ok(
      own.some(({ code }) => code === env),
      `${env} is there`,
    );
  for (const { code, isNotYet } of own) {
    t.ok(known.includes(code), `${code} is read`);
    t.equal(both(!later.has(code), isNotYet), 'as said', code);
  }
});

t.test('the options of tsrun that stand beside those of horovodrun', async (t) => {
  const rows = ownCells(sectionOf('horovodrun')).filter((cells) => cells.length === 2);
  const flags = (cell: string) => spansOf(cell).flatMap(({ code, isNotYet }) => (/^--?\w/.test(code) ? [{ code, isNotYet }] : []));
  const seen = new Set<string>();
  for (const [own, why] of rows as Array<[string, string]>) {
    for (const { code, isNotYet } of flags(own)) {
      const found = spellings.get(code.replace(/^--?/, ''))?.option;
      t.ok(found, `${code} is an option`);
      seen.add(code);
      t.equal(both(!found?.isLater, isNotYet), 'as said', code);
      t.equal(/^accepted without meaning/.test(why), found?.isMeaningless ?? false, `${code}: what is said of its meaning is true`);
    }
    for (const { code } of flags(why)) t.ok(spellings.has(code.replace(/^--?/, '')), `${code} is an option`);
  }
  for (const { name, isMeaningless } of options) if (isMeaningless) t.ok(seen.has(`--${name}`), `--${name} has a row`);
});
