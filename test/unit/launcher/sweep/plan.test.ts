import t from 'tap';
import { type Asked, cellsOf, differences, fileNameOf, jobWords, nameOf, openRuns, planOf } from '../../../../launcher/sweep/plan';
import { whyNotThere } from '../../../../launcher/sweep/store';

const asked: Asked = {
  workers: [1, 2],
  strategies: ['ring', 'ps-sync'],
  isStrategyGiven: true,
  vary: [{ name: 'b', values: ['8', '16'] }],
  repeats: 3,
  options: ['--ps=1'],
  command: ['train.ts', '--lr', '0.1'],
  isAnyCommand: false,
  scriptSha256: 'abc',
  hosts: [],
  knobs: { HOROVOD_CYCLE_TIME: 1 },
};

t.test('cells: every combination once', async (t) => {
  const names = cellsOf(asked).map(nameOf);
  t.equal(names.length, 8);
  t.equal(new Set(names).size, 8);
  t.same(names.slice(0, 3), ['np1 ring b=8', 'np2 ring b=8', 'np1 ps-sync b=8']);
  t.same(cellsOf({ ...asked, vary: [] }).length, 4);
});

t.test('every round runs each cell once, and every second one goes backwards', async (t) => {
  const plan = planOf(asked);
  t.equal(plan.length, 24);
  const round = (repeat: number) => plan.filter((run) => run.repeat === repeat).map(({ cell }) => nameOf(cell));
  t.same(
    plan.map(({ repeat }) => repeat),
    [1, 2, 3].flatMap((repeat) => Array(8).fill(repeat)),
    'interleaved',
  );
  t.same(round(2), [...round(1)].reverse());
  t.same(round(3), round(1));
  // Drift that grows with time meets all cells alike over two rounds.
  const places = new Map<string, number>();
  for (const [i, { cell }] of plan.slice(0, 16).entries()) places.set(nameOf(cell), (places.get(nameOf(cell)) ?? 0) + i);
  t.same([...new Set(places.values())], [15]);
});

t.test('what is left to do', async (t) => {
  const plan = planOf(asked);
  const done = plan.slice(0, 5).map((run, i) => ({ ...run, isFailed: i === 1 }));
  t.same(openRuns(plan, done, false), plan.slice(5), 'failed ones are done');
  t.same(openRuns(plan, done, true), [plan[1], ...plan.slice(5)], 'or are run again');
  t.same(openRuns(plan, [], false), plan);
  const copied = JSON.parse(JSON.stringify(plan.map((run) => ({ ...run, isFailed: false }))));
  t.same(openRuns(plan, copied, false), [], 'cells read from a file are the same cells');
});

t.test('the words of one job', async (t) => {
  const [cell] = cellsOf(asked);
  t.same(jobWords(asked, cell!), ['--ps=1', '--np=1', '--strategy=ring', 'train.ts', '--lr', '0.1', '-b', '8']);
  const long = { ...cell!, values: { 'batch-size': '8' } };
  t.same(jobWords({ ...asked, isStrategyGiven: false, isAnyCommand: true }, long).slice(1), [
    '--np=1',
    '--',
    'train.ts',
    '--lr',
    '0.1',
    '--batch-size',
    '8',
  ]);
});

t.test('each run has a log of its own', async (t) => {
  const strange = { ...asked, vary: [{ name: 'b', values: ['a/b', 'a:b', '../x'] }] };
  const names = planOf(strange).map((run) => fileNameOf(run, strange));
  t.equal(new Set(names).size, names.length);
  for (const name of names) t.notMatch(name, /\/|\.\.\//);
});

t.test('sweeps that differ, and in what', async (t) => {
  t.same(differences(asked, JSON.parse(JSON.stringify(asked))), []);
  const table: Array<[Partial<Asked>, RegExp]> = [
    [{ workers: [1, 2, 4] }, /^-np was 1,2, now is 1,2,4$/],
    [{ strategies: ['ring'] }, /^--strategy was ring ps-sync, now is ring$/],
    [{ vary: [] }, /^--vary was b=8,16, now is none$/],
    [{ repeats: 5 }, /^--repeats was 3, now is 5$/],
    [{ command: ['other.ts'] }, /^the command was train\.ts --lr 0\.1, now is other\.ts$/],
    [{ scriptSha256: 'def' }, /script's text.* was abc, now is def/],
    [{ options: [] }, /options of the jobs was --ps=1, now is none/],
    [{ hosts: ['h1:4'] }, /hosts was none, now is h1:4/],
    [{ knobs: { HOROVOD_CYCLE_TIME: 5 } }, /configuration was HOROVOD_CYCLE_TIME=1, now is HOROVOD_CYCLE_TIME=5/],
  ];
  for (const [change, pattern] of table) {
    const found = differences(asked, { ...asked, ...change });
    t.equal(found.length, 1);
    t.match(found[0], pattern);
  }
});

t.test('which folders are refused', async (t) => {
  const text = (of: Asked) => JSON.stringify({ format: 'khorovod sweep 1', asked: of, sessions: [], runs: [] });
  const why = (names: string[], file?: string) => whyNotThere('/out', names, file, asked);
  t.equal(why([]), undefined);
  t.equal(why(['lock', 'logs']), undefined, 'of a sweep that was killed at once');
  t.equal(why(['sweep.json', 'x'], text(asked)), undefined);
  t.match(why(['thesis.doc']), /holds 'thesis\.doc', and no sweep.*--out/);
  t.match(why(['sweep.json'], '{}'), /not written by this version/);
  t.match(why(['sweep.json'], 'no json'), /not written by this version/);
  t.match(why(['sweep.json'], text({ ...asked, repeats: 9 })), /another sweep: --repeats was 9, now is 3.*--out/);
});
