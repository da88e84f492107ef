import t from 'tap';
import { parseCommandLine } from '../../../../launcher/args';
import { LaunchError } from '../../../../launcher/errors';
import type { Outside } from '../../../../launcher/settings';
import { jobWords, nameOf, planOf } from '../../../../launcher/sweep/plan';

const outside: Outside = { cwd: '/home/me', env: {}, readText: () => 'text', isFile: (file) => file === '/home/me/train.ts' };
const parse = (...words: string[]) => parseCommandLine(['sweep', ...words], outside, 'bench.js');
function request(...words: string[]) {
  const line = parse(...words);
  if (line.kind !== 'sweep') throw new Error(`it is ${line.kind}`);
  return line.request;
}
function refusal(...words: string[]): [number, string] {
  try {
    parse(...words);
  } catch (error) {
    if (error instanceof LaunchError) return [error.exitCode, error.message];
    throw error;
  }
  throw new Error(`accepted: ${words.join(' ')}`);
}

t.test('a whole command line', async (t) => {
  const { asked, folder, metric, commandLine } = request(
    ...['-np', '4,1,2', '--strategy', 'ring,ps-ssp:3', '--vary', 'batch-size=16,32', '--repeats=2', '--out', 'o', '--metric', 'steps'],
    ...['-x', 'A=b', '--log-level', 'INFO', 'train.ts', '--repeats', '7'],
  );
  t.match(asked, {
    workers: [1, 2, 4],
    strategies: ['ring', 'ps-ssp:3'],
    repeats: 2,
    vary: [{ name: 'batch-size', values: ['16', '32'] }],
  });
  t.same(asked.command, ['train.ts', '--repeats', '7'], 'what stands behind the script is the script’s');
  t.equal(asked.scriptSha256.length, 64);
  t.equal(asked.knobs.HOROVOD_LOG_LEVEL, 'INFO');
  t.equal(folder, '/home/me/o');
  t.equal(metric, 'steps');
  t.match(commandLine, /^tsrun sweep -np 4,1,2 .*train\.ts --repeats 7$/);
  const plan = planOf(asked);
  t.equal(plan.length, 24);
  for (const { cell } of plan) {
    const job = parseCommandLine(['run-of-sweep', ...jobWords(asked, cell)], outside, 'bench.js');
    if (job.kind !== 'run') throw new Error(job.kind);
    t.ok(job.isOfSweep);
    t.equal(job.request.np, cell.workers, nameOf(cell));
    t.match(job.request.env, { TSRUN_STRATEGY: cell.strategy, A: 'b', HOROVOD_LOG_LEVEL: 'INFO' });
    t.same(job.request.command, ['train.ts', '--repeats', '7', '--batch-size', cell.values['batch-size']]);
  }
});

t.test('what is not said', async (t) => {
  const { asked, folder, metric } = request('-np', '1', 'train.ts');
  t.match(asked, { repeats: 5, strategies: ['ring'], isStrategyGiven: false, vary: [] });
  t.equal(folder, '/home/me/sweep-train');
  t.equal(metric, undefined);
  t.ok(request('-np', '1', '--', 'node', 'x').asked.isAnyCommand);
  t.match(parse('--help'), { kind: 'help', text: /--again-failed/ });
});

t.test('what is refused, before anything starts', async (t) => {
  const table: Array<[RegExp, ...string[]]> = [
    [/tsrun sweep -np 1,2,4/, 'train.ts'],
    [/-np is '1,two'.*list/, '-np', '1,two', 'train.ts'],
    [/-np is '0'/, '-np', '0', 'train.ts'],
    [/-np is '1,,2'.*missing/, '-np', '1,,2', 'train.ts'],
    [/-np names 2 twice/, '-np', '2,1,2', 'train.ts'],
    [/--strategy is 'star', but must be ring/, '-np', '1', '--strategy', 'ring,star', 'train.ts'],
    [/--repeats is '0'/, '-np', '1', '--repeats', '0', 'train.ts'],
    [/--vary is 'lr'/, '-np', '1', '--vary', 'lr', 'train.ts'],
    [/--vary names lr twice/, '-np', '1', '--vary', 'lr=1', '--vary', 'lr=2', 'train.ts'],
    [/the script is given --lr besides/, '-np', '1', '--vary', 'lr=1,2', 'train.ts', '--lr', '3'],
    [/unknown option --bogus/, '-np', '1', '--bogus', 'train.ts'],
    [/--out needs a value/, '-np', '1', '--out'],
    [/no script other\.ts/, '-np', '1', 'other.ts'],
    [/which script/, '-np', '1'],
    [/no --output-filename: each run has its log/, '-np', '1', '--output-filename', 'x', 'train.ts'],
    [/no --nnodes/, '-np', '1', '--nnodes', '2', 'train.ts'],
    [/--cycle-time-ms is '-1'/, '-np', '1', '--cycle-time-ms', '-1', 'train.ts'],
  ];
  for (const [pattern, ...words] of table) {
    const [code, text] = refusal(...words);
    t.match(text, pattern, words.join(' '));
    t.equal(code, 2);
  }
  t.same(refusal('-np', '1,4', '-H', 'localhost:2', 'train.ts')[0], 4, 'too few slots for one of the counts');
});
