/** The distributed study: its command line, where servers stand, what a run needs of memory, what comes out of the runs. */
import t from 'tap';
import { parseHosts } from '../../../launcher/hosts';
import { type Asked, type Cell, cellsOf } from '../../../launcher/sweep/plan';
import type { RunRecord } from '../../../launcher/sweep/records';
import { studyCharts } from '../../../scripts/study/distributed/figures';
import { bytesByHost, holdingBytes, rankBytes, whyNotFits, whyNotHeld } from '../../../scripts/study/distributed/memory';
import { readStudyArguments, type StudySettings } from '../../../scripts/study/distributed/settings';
import { benchmarkWords, launchWords, placementOf, strategyOf } from '../../../scripts/study/distributed/strategies';
import { type Facts, leastStepMs, loadOf, studySummary } from '../../../scripts/study/distributed/summary';
import { markdownOf } from '../../../scripts/study/distributed/tables';

function settingsOf(words: string): StudySettings {
  const command = readStudyArguments(words.split(' ').filter(Boolean));
  if (command.kind !== 'study') throw new Error(command.kind);
  return command.settings;
}

t.test('options: the study’s, the benchmark’s, tsrun’s', async (t) => {
  const { networks, strategies, workers, repeats, iterations, batchSize, slowDown, benchmark, tsrun, ...rest } = settingsOf('');
  t.same(networks, ['vgg16', 'vgg19', 'resnet50', 'resnet152', 'inception_v4']);
  t.same(
    strategies.map(({ name }) => name),
    ['no-communication', 'no-computation', 'ring', 'ps-sync@1', 'ps-async@1', 'ps-sync@colocated', 'ps-async@colocated'],
  );
  t.same([workers, repeats, iterations, batchSize, slowDown, benchmark, tsrun], [[1, 2, 4, 8, 16], 1, 500, 32, 1, [], []]);
  t.match(rest, { emulate: undefined, memoryBytes: undefined, psHosts: undefined, isDryRun: false });
  const given = settingsOf(
    '--networks vgg16 --workers 4,2 --iterations=3 --batch-size 8 --emulate-compute k80 --slow-down 25 --memory 2 --link-gbit 1 --ps-hosts s1 -H h1:2 -x A=b --dry-run',
  );
  t.same([given.workers, given.iterations, given.emulate, given.slowDown, given.memoryBytes], [[2, 4], 3, 'k80', 25, 2 ** 31]);
  t.same(given.benchmark, ['--iterations=3', '--batch-size=8', '--emulate-compute=k80', '--slow-down=25']);
  t.same([given.tsrun, given.psHosts, given.linkGbit, given.isDryRun], [['-H=h1:2', '-x=A=b'], 's1', 1, true]);
  t.same(readStudyArguments(['--report', 'd']), { kind: 'report', folder: 'd' });
  t.same(readStudyArguments(['--help']), { kind: 'help' });
});

t.test('what is wrong is refused, and named', async (t) => {
  for (const [words, message] of [
    ['--networks alexnet', /no network 'alexnet'/],
    ['--networks vgg16,vgg16', /vgg16 is named twice/],
    ['--networks vgg16,', /missing beside a comma/],
    ['--strategies ps-sync', /no strategy 'ps-sync': .*@1, @2/],
    ['--strategies ps-sync@0', /no strategy/],
    ['--workers 0', /--workers is '0'/],
    ['--workers 1,two', /--workers is 'two'/],
    ['--iterations 0', /--iterations '0' is not a whole number/],
    ['--image-size 31 --networks vgg16', /at least 32×32/],
    ['--emulate-compute k81', /no profile 'k81'/],
    ['--memory none', /--memory is 'none', but must be a number > 0/],
    ['-np 2', /no --np: worker counts are named by --workers/],
    ['--ps 1', /no --ps: .*ps-sync@2/],
    ['--strategy ring', /no --strategy/],
    ['train.ts', /takes no 'train\.ts'/],
    ['--report d --workers 1', /takes no other option/],
    ['--workers', /--workers needs a value/],
  ] as const)
    t.throws(() => readStudyArguments(words.split(' ')), { message }, words);
});

t.test('where servers stand', async (t) => {
  const all = parseHosts('h1:1,h2:1,h3:1,h4:1');
  const hosts = { all, oversubscribe: false };
  const place = (name: string, workers: number, given: object = hosts) => placementOf(strategyOf(name), workers, { ...hosts, ...given });
  t.same(place('ring', 2), { ranks: ['h1', 'h2'], servers: [] });
  t.same(place('ps-sync@1', 1), { ranks: ['h1'], servers: ['h4'] });
  t.same(place('ps-sync@1', 3), { ranks: ['h1', 'h2', 'h3'], servers: ['h4'] }, 'the same host whatever the workers');
  t.same(place('ps-async@n', 2), { ranks: ['h1', 'h2'], servers: ['h4', 'h3'] });
  t.match(place('ps-async@n', 3), /its 3 servers need as many hosts without workers, there are 1/);
  t.match(place('ps-sync@1', 4), /there are 0/);
  t.same(place('ps-sync@3', 4, { forServers: ['s1', 's2'] }), { ranks: ['h1', 'h2', 'h3', 'h4'], servers: ['s1', 's2', 's1'] });
  t.same(place('ps-sync@colocated', 2), { ranks: ['h1', 'h2'], servers: ['h1', 'h2'] });
  t.same(place('ps-sync@colocated', 3, { all: parseHosts('h1:2,h2:2') }), { ranks: ['h1', 'h1', 'h2'], servers: ['h1', 'h2', 'h1'] });
  t.same(place('ps-sync@2', 1, { all: undefined }), { ranks: ['localhost'], servers: ['localhost', 'localhost'] });
  t.match(place('no-computation', 1), /nobody to exchange with/);
  t.throws(() => place('ring', 5), { message: /5 processes were asked for, but the hosts have 4 slots/ });
});

t.test('the words of a run', async (t) => {
  const words = (name: string, servers: string[]) => launchWords(strategyOf(name), 4, { ranks: [], servers });
  t.same(words('ring', []), ['--np=4', '--strategy=ring']);
  t.same(words('ps-ssp:2@3', ['s1', 's2', 's1']), ['--np=4', '--strategy=ps-ssp:2', '--ps=3', '--ps-hosts=s1,s2']);
  t.same(words('ps-async@1', ['localhost']), ['--np=4', '--strategy=ps-async', '--ps=1']);
  t.same(words('no-communication', []), ['--np=4', '--strategy=ring']);
  t.same(benchmarkWords(strategyOf('no-communication'), 500), ['--no-communication']);
  t.same(benchmarkWords(strategyOf('no-computation'), 500), ['--emulate-compute=none', '--iterations=20', '--warmup=1']);
  t.same(benchmarkWords(strategyOf('no-computation'), 3)[1], '--iterations=3');
  t.same(benchmarkWords(strategyOf('ring'), 500), []);
});

const run = { network: 'vgg16', batchSize: 32, imageSize: 224, classes: 1001, dataWorkers: 2, optimizer: 'sgd', isEmulated: true } as const;
t.test('memory', async (t) => {
  const gradients = 4 * 138_361_641;
  const emulated = rankBytes(run);
  t.ok(emulated > gradients && emulated < gradients + 2 ** 29, 'emulated: the gradients, and a process');
  const real = rankBytes({ ...run, isEmulated: false });
  // Outputs of VGG-16's convolutions alone are 13.5 million numbers an image.
  t.ok(real > 4 * gradients + 2 * 32 * 4 * 13.5e6, 'real: several copies, and what the backward pass needs');
  t.equal(rankBytes({ ...run, optimizer: 'adam', isEmulated: false }) - real, 2 * gradients);
  const piece = 2 ** 20;
  t.equal(holdingBytes(run, 1, 8, true), 2 * gradients + 2 ** 28, 'synchronous: variables and a sum, and what waits for its turn');
  t.equal(holdingBytes(run, 1, 8, false), gradients + 8 * piece, 'asynchronous: a piece of each worker');
  t.equal(holdingBytes(run, 4, 8, false), gradients / 4 + 8 * piece, 'servers share');
  const place = { ranks: ['h1', 'h2'], servers: ['h2'] };
  const needed = bytesByHost(run, strategyOf('ps-sync@1'), place);
  t.same(
    [...needed],
    [
      ['h1', emulated],
      ['h2', emulated + 2 ** 27 + holdingBytes(run, 1, 2, true)],
    ],
  );
  t.equal(bytesByHost({ ...run, isEmulated: false }, strategyOf('no-computation'), place).get('h1'), emulated, 'nothing is computed there');
  const sum = [...needed.values()].reduce((all, bytes) => all + bytes);
  const eight = { ranks: Array(8).fill('h1'), servers: ['h2'] };
  const many = { ranks: Array(4000).fill('h1'), servers: ['h2'] };
  t.match(whyNotHeld(run, strategyOf('ps-async@1'), many), /a server would hold up to 4\.4 GiB/, 'of the 4 GiB that a server has');
  t.equal(whyNotHeld(run, strategyOf('ps-async@1'), eight), undefined);
  t.equal(whyNotHeld(run, strategyOf('ps-sync@1'), eight), undefined);
  t.equal(whyNotHeld(run, strategyOf('ring'), { ...eight, servers: [] }), undefined);
  t.equal(whyNotFits(needed, {}), undefined);
  t.equal(whyNotFits(needed, { all: sum, each: needed.get('h2')! }), undefined);
  t.match(whyNotFits(needed, { all: sum - 1 }), /it needs about [\d.]+ GiB of memory, there are/);
  t.match(whyNotFits(needed, { each: needed.get('h2')! - 1 }), /on h2, which has/);
});

t.test('what link and computation allow', async (t) => {
  t.same([loadOf(1, 0, false), loadOf(2, 0, false), loadOf(8, 0, false)], [0, 1, 1.75], 'a ring');
  t.same([loadOf(8, 1, false), loadOf(8, 4, false), loadOf(8, 16, false), loadOf(8, 8, true)], [8, 2, 1, 1.75], 'servers');
  const times = { computeMs: 90, wireMs: 20 };
  t.equal(leastStepMs(strategyOf('ring'), 2, times), 90, 'hidden behind the backward pass');
  t.equal(leastStepMs(strategyOf('ps-sync@1'), 8, times), 30 + 160);
  t.equal(leastStepMs(strategyOf('ps-async@1'), 8, times), 160, 'another worker’s forward pass hides it');
  t.equal(leastStepMs(strategyOf('ps-sync@n'), 8, times), 90);
  t.equal(leastStepMs(strategyOf('ps-sync@colocated'), 8, { ...times, wireMs: 80 }), 30 + 140);
});

const asked: Asked = {
  ...{
    workers: [1, 2],
    strategies: ['no-communication', 'no-computation', 'ring', 'ps-sync@1'],
    isStrategyGiven: true,
    repeats: 1,
    options: [],
  },
  ...{ vary: [{ name: 'network', values: ['resnet50'] }], command: [], isAnyCommand: false, scriptSha256: '', hosts: [], knobs: {} },
};
const cell = (strategy: string, workers: number): Cell => ({ strategy, workers, values: { network: 'resnet50' } });
const about = { repeat: 1, exitCode: 0, startedAt: '', endedAt: '', seconds: 1, log: '', reports: [] };
const ran = (strategy: string, workers: number, imagesPerSec: number, msPerStepMedian = 0): RunRecord => ({
  ...{ ...about, cell: cell(strategy, workers), isFailed: false },
  numbers: { imagesPerSec, imagesPerSecSd: 1, iterations: 4, msPerStepMedian, exposedMs: 500 },
});
const facts: Facts = {
  ...{ batchSize: 32, classes: 1001, emulated: 'k80', slowDown: 25, hasLinks: true },
  leftOut: [
    { cell: cell('no-computation', 1), why: 'one worker has nobody to exchange with' },
    { cell: cell('ps-sync@1', 2), why: 'no room' },
  ],
};
const wireMs = 100;
const runs = [
  ran('no-communication', 1, 50),
  ran('no-communication', 2, 100),
  ran('no-computation', 2, 640, wireMs),
  ran('ring', 2, 90),
  { ...about, cell: cell('ring', 1), isFailed: true, cause: 'rank 0 was killed', numbers: {} },
];

t.test('rows, and what is missing', async (t) => {
  const { rows, links } = studySummary({ asked, runs }, facts);
  t.equal(rows.length, cellsOf(asked).length);
  const row = (strategy: string, workers: number) => rows.find((one) => one.strategy === strategy && one.workers === workers)!;
  t.match(row('ring', 2), { state: 'measured', imagesPerSec: { mean: 90, n: 4 }, efficiency: { mean: 0.9 }, ofControl: { mean: 0.9 } });
  t.ok(Math.abs(row('ring', 2).imagesPerSec!.halfWidth! - 3.1824 / 2) < 1e-9, 'of the mean of four steps');
  t.match(row('no-communication', 1), { efficiency: { mean: 1 }, ofControl: undefined });
  t.match(row('ring', 1), { state: 'failed', why: 'rank 0 was killed' });
  t.match(row('ps-sync@1', 2), { state: 'left out', why: 'no room' });
  t.match(row('ps-sync@1', 1), { state: 'open', why: undefined });
  // On two workers a ring sends each gradient once.
  t.ok(Math.abs(links.resnet50!.gbit - (25_559_081 * 32) / (wireMs * 1e6)) < 1e-9);
  t.equal(links.resnet50!.from, 'measured');
  t.equal(row('ring', 2).roofline, 100, 'a step of 640 ms hides 100 ms');
  t.equal(row('ring', 2).ofRoofline, 0.9);
  t.equal(studySummary({ asked, runs }, { ...facts, linkGbit: 1 }).links.resnet50!.gbit, 25, 'as it is: 25 times as fast in emulated time');
  t.same(studySummary({ asked, runs }, { ...facts, hasLinks: false }).links, {}, 'processes that share a host have no link each');
});

t.test('tables and figures say what is emulated', async (t) => {
  const summary = studySummary({ asked, runs }, facts);
  const text = markdownOf({ asked, runs }, summary, facts);
  t.match(text, /^### ResNet-50, emulated computation \(K80, slowed 25×\)$/m);
  t.match(text, /^\| ring \| 2 \| 90\.00 ± 1\.59 \| 1\.000 \| 20\.00 \| 90\.0 ± [\d.]+ % \| 90\.0 ± [\d.]+ % \| 100\.0 \| 90\.0 % \|$/m);
  t.match(text, /A ring that computes nothing: 100\.0 ms on 2 workers\./);
  t.match(text, /one way, measured: 8\.179 Gbit\/s \(0\.3272 Gbit\/s, slowed 25×\)/);
  t.match(text, /- ring on 1 worker failed: rank 0 was killed/);
  t.match(text, /- ps-sync@1 on 2 workers was left out: no room/);
  t.notMatch(text, /nobody to exchange/);
  t.match(text, /5 of 6 combinations are done, 5 of 6 runs\.$/);
  const { throughput, efficiency } = studyCharts(asked, summary, facts);
  for (const chart of [throughput, efficiency]) {
    t.match(chart!.title, /: emulated computation \(K80, slowed 25×\)$/);
    t.equal(chart!.emulated, 'computation (K80, slowed 25×)');
    t.same([...new Set(chart!.series.map(({ facet }) => facet))], ['ResNet-50']);
    t.same(
      chart!.series.map(({ name }) => name),
      ['no-communication', 'ring'],
      'what computes nothing has no images per second',
    );
  }
  t.same(throughput!.ideal![0]!.points, [
    { x: 1, y: 50 },
    { x: 2, y: 100 },
  ]);
  const real = { ...facts, emulated: undefined, slowDown: 1 };
  t.equal(studyCharts(asked, summary, real).throughput!.title, 'Images per second');
  t.equal(studyCharts(asked, summary, real).throughput!.emulated, undefined);
  t.same(studyCharts(asked, studySummary({ asked, runs: [] }, facts), facts), {});
});
