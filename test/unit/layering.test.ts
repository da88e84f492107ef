/** Holds the layering (a file imports what lies below it, or beside it) and the one home of each dangerous thing. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';

const root = path.join(__dirname, '..', '..').replace(/[/\\]dist$/, '');

/** From the bottom up. A file belongs to the first row whose pattern fits; it may import rows above it in this list, and its own row. */
const layers: ReadonlyArray<readonly [string, RegExp]> = [
  ['A base', /^src\/(errors|log|dtype|config|version|host_list)\.ts$/],
  ['A memory', /^src\/memory\//],
  ['A wire', /^src\/wire\//],
  [
    'B plans',
    /^src\/collective\/(plan|plan_writer|ring|recursive_doubling|halving_doubling|hierarchical|tree|topology|cost_model|alltoall|adasum|top_k|power_sgd|select)\.ts$/,
  ],
  ['B decisions', /^src\/engine\/(call|compressor|ranks|place|policy|alike|mismatch|cache|fuse|member_sets|decision|negotiate|stall)\.ts$/],
  ['B schedulers', /^src\/schedulers\//],
  ['C transport', /^src\/transport\//],
  ['C rendezvous', /^src\/rendezvous\//],
  ['D executor', /^src\/collective\/(execute|one_pass)\.ts$/],
  ['D parameter server', /^src\/parameter_server\//],
  ['E engine', /^src\/engine\//],
  [
    'F API',
    /^src\/(hvd|alltoall|reducescatter|compression|membership|process_set|submit|job|handle|values|objects|timeline|build_info|check_backend|check_build|index)\.ts$|^src\/tensorflow\//,
  ],
  ['H experiments', /^src\/(bench|simulate)\//],
];
/** Rows that do not see each other, though one stands above the other. */
const apart: ReadonlyArray<readonly [string, string]> = [
  ['B plans', 'A wire'],
  ['B plans', 'A memory'],
  ['D executor', 'C rendezvous'],
];
const launcherMayImport = new Set(['A base', 'A wire', 'C rendezvous']);
/** What sweeps draw with; loads no TensorFlow. */
const isDrawing = (file: string): boolean => /^src\/bench\/(plots|report)\.ts$/.test(file);

const homes: ReadonlyArray<{ thing: string; pattern: RegExp; home: RegExp }> = [
  { thing: 'Atomics', pattern: /\bAtomics\./, home: /^src\/engine\/boundary\.ts$|^src\/transport\/shared_memory\/(board|ring)\.ts$/ },
  { thing: 'process.env', pattern: /\bprocess\.env\b/, home: /^src\/config\.ts$/ },
  { thing: 'process.exit', pattern: /\bprocess\.exit\(/, home: /^launcher\/(tsrun|agent|reaper)\.ts$|^src\/engine\/server_process\.ts$/ },
  { thing: 'child_process', pattern: /['"](node:)?child_process['"]/, home: /^launcher\/process\.ts$|^src\/bench\/peers\/processes\.ts$/ },
  {
    thing: 'sockets',
    pattern: /(?:from|require\(|import\()\s*['"](node:)?(net|tls|http|https|dgram)['"]/,
    home: /^src\/(transport|rendezvous)\//,
  },
  {
    thing: '@tensorflow (as a value)',
    pattern: /(?:require\(|import\(|^import (?!type)[^;]*from )['"]@tensorflow/m,
    home: /^src\/(tensorflow|bench)\//,
  },
  { thing: 'undici', pattern: /['"]undici['"]/, home: /^launcher\/install_tfjs_node\/download\.ts$/ },
  { thing: 'console', pattern: /\bconsole\./, home: /^$/ },
  { thing: 'eval', pattern: /\b(eval|Function)\(['"`]/, home: /^$/ },
];

const files = ['src', 'launcher'].flatMap((folder) =>
  (readdirSync(path.join(root, folder), { recursive: true }) as string[])
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
    .map((name) => path.posix.join(folder, name)),
);
/** Without comments: they may speak of anything. */
const codeOf = new Map(
  files.map((file) => [
    file,
    readFileSync(path.join(root, file), 'utf8')
      .replace(/\/\*[\s\S]*?\*\//g, '')
      .replace(/(^|\s)\/\/.*$/gm, ''),
  ]),
);

const layerOf = (file: string): string | undefined => layers.find(([, pattern]) => pattern.test(file))?.[0];
const heightOf = (layer: string): number => layers.findIndex(([name]) => name === layer);

function importsOf(file: string): string[] {
  const found = [...codeOf.get(file)!.matchAll(/(?:from\s+|import\s*\(\s*|require\(\s*)['"](\.[^'"]+)['"]/g)].map((match) => match[1]!);
  return found
    .map((name) => path.posix.join(path.posix.dirname(file), name))
    .map((name) => files.find((known) => known === `${name}.ts` || known === `${name}/index.ts`) ?? `${name}.ts`);
}

t.test('every source file belongs to a layer', async (t) => {
  t.ok(files.length > 30, 'files are found');
  for (const file of files.filter((name) => name.startsWith('src/'))) t.ok(layerOf(file), file);
});

t.test('a file imports only what lies below it or in its own layer', async (t) => {
  for (const file of files.filter((name) => name.startsWith('src/'))) {
    const layer = layerOf(file) ?? '';
    for (const imported of importsOf(file)) {
      const below = layerOf(imported) ?? 'A wire'; // generated code
      const isAllowed = heightOf(below) <= heightOf(layer) && !apart.some(([above, other]) => above === layer && other === below);
      t.ok(isAllowed, `${file} (${layer}) imports ${imported} (${below})`);
    }
  }
});

t.test('src never imports launcher, and launcher only the base, the wire, the rendezvous and, for sweeps, what draws', async (t) => {
  for (const file of files) {
    for (const imported of importsOf(file)) {
      if (file.startsWith('src/')) t.notOk(imported.startsWith('launcher/'), `${file} imports ${imported}`);
      else if (imported.startsWith('src/')) {
        const isOfSweep = file.startsWith('launcher/sweep/') && isDrawing(imported);
        t.ok(isOfSweep || launcherMayImport.has(layerOf(imported) ?? 'A wire'), `${file} imports ${imported}`);
      }
    }
  }
});

t.test('no import goes round in a circle', async (t) => {
  const state = new Map<string, 'open' | 'closed'>();
  const circles: string[] = [];
  const visit = (file: string, trail: readonly string[]): void => {
    if (state.get(file) === 'closed' || !codeOf.has(file)) return;
    if (state.get(file) === 'open') {
      circles.push([...trail.slice(trail.indexOf(file)), file].join(' → '));
      return;
    }
    state.set(file, 'open');
    for (const imported of valueImportsOf(file)) visit(imported, [...trail, file]);
    state.set(file, 'closed');
  };
  for (const file of files) visit(file, []);
  t.same(circles, []);
});

/** Types cost nothing at run time: two files may name each other's. */
function valueImportsOf(file: string): string[] {
  const values = codeOf
    .get(file)!
    .replace(/^import type [^;]*;/gm, '')
    .replace(/^export type \{[^;]*;/gm, '');
  const names = [...values.matchAll(/(?:from\s+|require\(\s*)['"](\.[^'"]+)['"]/g)].map(
    (match) => `${path.posix.join(path.posix.dirname(file), match[1]!)}.ts`,
  );
  return names.filter((name) => codeOf.has(name));
}

t.test('each dangerous thing has one home', async (t) => {
  for (const { thing, pattern, home } of homes) {
    for (const file of files) {
      if (!home.test(file)) t.notOk(pattern.test(codeOf.get(file)!), `${thing} in ${file}`);
    }
  }
});
