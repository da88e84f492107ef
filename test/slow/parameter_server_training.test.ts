/** Whole jobs that train through parameter servers, in processes of their own or colocated: an unchanged script in every mode, and who goes on when a worker, rank 0 or a server is killed, frozen, leaves or never comes. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { until } from '../helpers/processes';
import { largestDifference } from '../helpers/small_network';
import { readTrace } from '../helpers/trace';
import { Job, runJob, worker } from '../helpers/tsrun';

const pushes = worker('pushes_ones.js');
const linux = process.platform === 'linux' ? false : 'looks at /proc';
const entry = path.join(__dirname, '..', '..', 'src', 'index.js');
const verdict = (err: string): string => err.trimEnd().split('\n').at(-1)!;

interface Result {
  readonly seen: Array<Array<[number, number]>>;
  readonly end?: Array<[number, number]>;
  readonly error?: { code: string; name: string; message: string; peer?: number };
}
const resultOf = (job: Job, rank: number): Result => JSON.parse(job.read(`result-${rank}`)) as Result;
/** Each row's pushes, the same in all of its elements. */
const exactly = (...counts: number[]): Array<[number, number]> => counts.map((count) => [count, count]);

function start(t: Test, np: number, options: readonly string[], ...words: Array<string | number>): Job {
  const job = new Job(['-np', String(np), ...options, pushes, '@', ...words.map(String)]);
  t.teardown(() => job.leftAfter(0));
  return job;
}

// ───────────────────────────── an unchanged script ─────────────────────────────

interface Trained {
  readonly steps: { weights: number[]; losses: number[] };
  readonly fit: { weights: number[]; logs: Array<Array<Record<string, number>>> };
  readonly saved: { weights: number[]; resumed: number[] };
  readonly sizes: number[];
}
async function train(t: Test, ...options: string[]): Promise<Trained> {
  const job = new Job(['-np', '2', ...options, worker('trains_by_strategy.js'), '@']);
  t.equal(await job.status(180_000), 0, `${options.join(' ')}: ${job.err}`);
  const result = JSON.parse(job.read('result')) as Trained;
  t.same(await job.leftAfter(), []);
  return result;
}

t.test('an unchanged script trains in every mode', { skip: linux }, async (t) => {
  const ring = await train(t);
  for (const options of [
    ['--strategy', 'ps-sync'],
    ['--strategy', 'ps-sync', '--ps', '2', '--tls'],
  ]) {
    const served = await train(t, ...options);
    const name = options.join(' ');
    t.same(served.sizes, [2, 2], 'servers are no ranks');
    for (const part of ['steps', 'fit', 'saved'] as const) {
      const off = largestDifference(served[part].weights, ring[part].weights);
      t.ok(off < 5e-5, `${name}: ${part} as by a ring, off by ${off}`);
    }
    t.ok(largestDifference(served.saved.resumed, served.saved.weights) < 1e-6, `${name}: a loaded model goes on as the one that was saved`);
    const [first, second] = served.fit.logs;
    t.same(first, second, `${name}: averaged metrics are equal everywhere`);
    const loss = (trained: Trained): number[] => trained.fit.logs[0]!.map((logs) => logs.loss!);
    t.ok(largestDifference(loss(served), loss(ring)) < 1e-4, `${name}: losses ${loss(served)}, by a ring ${loss(ring)}`);
  }
  for (const options of [
    ['--strategy', 'ps-async'],
    ['--strategy', 'ps-ssp:2', '--ps', '1'],
  ]) {
    const { steps } = await train(t, ...options);
    t.ok(Math.min(...steps.losses.slice(-3)) < 0.9 * steps.losses[0]!, `${options.join(' ')}: it learns, losses ${steps.losses}`);
  }
});

t.test('what servers do not do is refused at the call', { skip: linux }, async (t) => {
  const code = `const hvd = require(${JSON.stringify(entry)}); const tf = require('\\x40tensorflow/tfjs'); hvd.init();
    const variable = tf.variable(tf.zeros([2]));
    for (const options of [{ op: 'sum' }, { op: 'adasum' }, { groups: 2 }, { groups: [[variable]] }, { backwardPassesPerStep: 2 }, { gradientPredivideFactor: 2 }])
      try { hvd.DistributedOptimizer(tf.train.sgd(1), options); console.log('taken', JSON.stringify(options)); }
      catch (error) { console.log(error.constructor.name, error.code, /--strategy ring/.test(error.message)); }
    try { hvd.DistributedOptimizer(hvd.train.lars(1)); console.log('taken'); } catch (error) { console.log(error.constructor.name, error.code, /Lars|lars|LARS/.test(error.message)); }
    const optimizer = hvd.DistributedOptimizer(tf.train.sgd(1));
    try { optimizer.setLearningRate(Number.NaN); optimizer.minimize(() => variable.sum(), false, [variable]); console.log('taken NaN'); }
    catch (error) { console.log(error.constructor.name, error.code, /rate/i.test(error.message)); }`;
  const { status, out, err } = await runJob(['-np', '1', '--ps', '1', '--strategy', 'ps-sync', '--no-prefix', '--', 'node', '-e', code]);
  t.equal(status, 0, err);
  t.same(out.trim().split('\n'), Array(8).fill('UsageError ERR_HVD_USAGE true'));
});

// ───────────────────────────── who goes on ─────────────────────────────

for (const victim of [1, 0])
  t.test(`asynchronous: worker ${victim} is killed, no update is lost, the others go on`, { skip: linux }, async (t) => {
    const options = ['--ps', '2', '--strategy', 'ps-async', '--keep-going'];
    const job = start(t, 3, options, 20, `hold=${victim}:7`, `without=${victim}`);
    await job.files(/^held-/, 1);
    process.kill(Number(job.read(`held-${victim}`)), 'SIGKILL');
    t.equal(await job.status(), 137, 'its exit code');
    t.match(job.err, new RegExp(`rank ${victim} on host localhost was ended by signal SIGKILL.*; the job goes on`));
    t.match(verdict(job.err), new RegExp(`rank ${victim} `));
    for (const rank of [0, 1, 2].filter((one) => one !== victim))
      t.same(resultOf(job, rank).end, exactly(...[0, 1, 2].map((row) => (row === victim ? 7 : 20))), `as rank ${rank} sees it`);
    t.same(await job.leftAfter(), []);
  });

t.test(
  'a worker that is killed in the middle of its steps has what it was answered for applied, and at most one step more',
  { skip: linux },
  async (t) => {
    const job = start(t, 3, ['--ps', '2', '--strategy', 'ps-ssp:2', '--keep-going'], 60, 'exclaims', 'delays', 'without=2', 'hold=0:40');
    await until(() => existsSync(path.join(job.folder, 'step-2')) && Number(job.read('step-2')) >= 5, 60_000);
    const victim = job.processes().find(({ command, pid }) => command.includes('pushes_ones') && rankOf(pid) === '2');
    process.kill(victim!.pid, 'SIGKILL');
    // Rank 0 has waited here, and the staleness that is allowed: the victim cannot have come to its end.
    await job.files(/^held-0/, 1);
    job.put('go');
    t.equal(await job.status(), 137, job.err);
    const answered = Number(job.read('step-2'));
    for (const rank of [0, 1]) {
      const [zero, one, [fewest, most]] = resultOf(job, rank).end! as [[number, number], [number, number], [number, number]];
      t.same([zero, one], exactly(60, 60));
      t.ok(fewest >= answered && most <= answered + 1, `${answered} steps were answered, ${fewest} to ${most} are applied`);
    }
    t.same(await job.leftAfter(), []);
  },
);

const rankOf = (pid: number): string | undefined => /(?:^|\0)HOROVOD_RANK=(\d+)/.exec(readFileSync(`/proc/${pid}/environ`, 'latin1'))?.[1];

for (const strategy of ['ps-async', 'ps-ssp:1'])
  t.test(`${strategy}: a frozen worker is given up after --peer-timeout, and told when it goes on`, { skip: linux }, async (t) => {
    const options = ['--ps', '1', '--strategy', strategy, '--keep-going', '--peer-timeout', '3', '--log-level', 'INFO'];
    const job = start(t, 3, options, 12, 'hold=1:3', 'without=1');
    await job.files(/^held-/, 1);
    const frozen = Number(job.read('held-1'));
    process.kill(frozen, 'SIGSTOP');
    await job.files(/^result-[02]$/, 2);
    t.ok(await until(() => /given up|said nothing for/.test(job.err), 60_000), job.err);
    for (const rank of [0, 2]) t.same(resultOf(job, rank).end, exactly(12, 3, 12), `as rank ${rank} sees it`);
    job.put('go');
    process.kill(frozen, 'SIGCONT');
    t.equal(await job.status(), 1, job.err);
    t.match(resultOf(job, 1).error, { code: 'ERR_HVD_PEER' });
    t.match(verdict(job.err), /rank 1 /);
    t.same(await job.leftAfter(), []);
  });

t.test('the bound on staleness holds in every step', { skip: linux }, async (t) => {
  const [bound, steps] = [2, 100];
  const job = start(t, 3, ['--ps', '2', '--strategy', `ps-ssp:${bound}`], steps, 'delays');
  t.equal(await job.status(), 0, job.err);
  let furthest = 0;
  for (const rank of [0, 1, 2]) {
    const { seen, end } = resultOf(job, rank);
    t.same(end, exactly(steps, steps, steps));
    t.equal(seen.length, steps);
    const broken = seen.flatMap((rows, i) => {
      const lags = rows.map(([fewest, most]) => [i - fewest, most - i] as const);
      furthest = Math.max(furthest, ...lags.map(([behind]) => behind));
      // Step i + 1 begins: everybody has finished step i − bound, and nobody else is further on than this rank's bound lets it be.
      return lags.every(([behind, ahead]) => behind <= bound && ahead <= bound + 1) ? [] : [`step ${i + 1}: ${JSON.stringify(rows)}`];
    });
    t.same(broken, [], `as rank ${rank} sees it`);
  }
  t.ok(furthest > 0, `somebody was ahead of others, by up to ${furthest}`);
  t.same(await job.leftAfter(), []);
});

t.test('a server that is killed is a PeerError of every worker that names it, and tsrun names it first', { skip: linux }, async (t) => {
  const job = start(t, 2, ['--ps', '2', '--strategy', 'ps-async', '--keep-going'], 1_000_000, 'exclaims', 'deaf');
  await job.files(/^step-/, 2);
  const server = job
    .processes()
    .find(({ pid, command }) => command.includes('pushes_ones') && /TSRUN_SERVER=0/.test(readFileSync(`/proc/${pid}/environ`, 'latin1')));
  process.kill(server!.pid, 'SIGKILL');
  t.equal(await job.status(), 137, job.err);
  t.match(verdict(job.err), /ps0 on host localhost was ended by signal SIGKILL/);
  for (const rank of [0, 1]) t.match(resultOf(job, rank).error, { code: 'ERR_HVD_PEER', message: /parameter server ps0/ }, `rank ${rank}`);
  t.same(await job.leftAfter(), []);
});

for (const [options, goesOn] of [
  [['--ps', '1', '--strategy', 'ps-sync'], false],
  [['--strategy', 'ps-sync'], false],
  [['--strategy', 'ps-async'], true],
  [['--ps', '1', '--strategy', 'ps-ssp:1'], true],
] as const)
  t.test(
    `${options.join(' ')}: a worker leaves early by exit 0, the others ${goesOn ? 'go on' : 'get PeerError'}`,
    { skip: linux },
    async (t) => {
      const job = start(t, 3, options, 9, 'leave=2:4', 'without=2');
      t.equal(await job.status(), goesOn ? 0 : 1, job.err);
      const results = [0, 1].map((rank) => resultOf(job, rank));
      for (const { end, error, seen } of results) {
        if (goesOn) t.same(end, exactly(9, 9, 4));
        else {
          t.match(error, { code: 'ERR_HVD_PEER' });
          t.equal(seen.length, 5, 'in the first step without it');
        }
      }
      // The first one ends by it, and may be what the second one hears of first.
      if (!goesOn)
        t.ok(
          results.some(({ error }) => /rank 2/.test(error!.message)),
          results.map(({ error }) => error!.message).join(' | '),
        );
      t.same(await job.leftAfter(), []);
    },
  );

t.test('what servers hold can be fetched when others have left, in synchronous mode too', { skip: linux }, async (t) => {
  const code = `const hvd = require(${JSON.stringify(entry)}); const tf = require('\\x40tensorflow/tfjs'); hvd.init();
    const variable = tf.variable(tf.zeros([3]));
    const optimizer = hvd.DistributedOptimizer(tf.train.momentum(1, 0.5));
    for (let step = 0; step < 2; step += 1) optimizer.minimize(() => variable.sum(), false, [variable]);
    if (hvd.rank() === 0) setTimeout(async () => {
      const weights = await optimizer.getWeights();
      console.log(weights.map(({ tensor }) => [...tensor.dataSync()].join()).join(' '));
    }, 700);`;
  for (const servers of ['0', '1']) {
    const { status, out, err } = await runJob([
      '-np',
      '2',
      '--ps',
      servers,
      '--strategy',
      'ps-sync',
      '--no-prefix',
      '--',
      'node',
      '-e',
      code,
    ]);
    t.equal(status, 0, err);
    t.equal(out.trim(), '2 1.5,1.5,1.5');
  }
});

t.test('a script that fails before its first step ends the job; with --keep-going the others train', { skip: linux }, async (t) => {
  const job = start(t, 2, ['--ps', '1', '--strategy', 'ps-sync'], 1_000_000, 'fail=1');
  t.equal(await job.status(), 1);
  t.match(verdict(job.err), /rank 1 on host localhost ended with exit code 1/);
  t.match(job.err, /no data/);
  t.same(await job.leftAfter(), []);
  // Whose variables are what training begins with.
  const first = start(t, 2, ['--ps', '1', '--strategy', 'ps-async', '--keep-going'], 5, 'fail=0', 'without=0');
  t.equal(await first.status(), 1);
  t.match(resultOf(first, 1).error, { code: 'ERR_HVD_PEER', message: /rank 0/ });
});

for (const absent of [1, 0])
  t.test(`worker ${absent} does not come to its first step: a warning, then StallError`, { skip: linux }, async (t) => {
    const patience = ['-x', 'HOROVOD_STALL_CHECK_TIME_SECONDS=2', '-x', 'HOROVOD_STALL_SHUTDOWN_TIME_SECONDS=6'];
    const job = start(t, 3, ['--ps', '1', '--strategy', 'ps-sync', ...patience], 5, `never=${absent}`);
    await job.files(/^result-/, 2);
    for (const rank of [0, 1, 2].filter((one) => one !== absent))
      t.match(resultOf(job, rank).error, { code: 'ERR_HVD_STALL', message: new RegExp(`worker ${absent}`) }, `rank ${rank}`);
    t.match(job.err, new RegExp(`WARNING.*worker ${absent}`));
    job.put('go');
    t.equal(await job.status(), 1);
    t.same(await job.leftAfter(), []);
  });

t.test('timelines of jobs with servers are whole', { skip: linux }, async (t) => {
  for (const servers of ['0', '1']) {
    const options = ['--ps', servers, '--strategy', 'ps-sync', '--timeline-filename', '@/timeline.json'];
    const job = new Job(['-np', '2', ...options, pushes, '@', '5']);
    t.equal(await job.status(), 0, job.err);
    const names = readdirSync(job.folder).filter((one) => one.startsWith('timeline'));
    t.ok(names.length > 0, names.join());
    for (const name of names) {
      const trace = readTrace(job.read(name));
      t.same(trace.problems, []);
      t.equal(trace.slices.filter((slice) => slice.name === 'STEP').length, 6, `${name} shows the steps`);
      for (const shown of ['MEMCPY_IN_HOST_BUFFER', 'MEMCPY_OUT_HOST_BUFFER', 'EXPOSED_COMMUNICATION'])
        t.ok(
          trace.slices.some((slice) => slice.name === shown),
          `${name} shows ${shown}`,
        );
    }
    t.same(await job.leftAfter(), []);
  }
});
