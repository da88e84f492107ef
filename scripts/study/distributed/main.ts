/** `node scripts/study/distributed.mjs`: the distributed half of the study as one sweep, with servers where each strategy wants them. Everything that is decided stands in the files beside this one. */
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { parseCommandLine } from '../../../launcher/args';
import { LaunchError } from '../../../launcher/errors';
import type { SweepRequest } from '../../../launcher/sweep/args';
import { type Asked, type Cell, cellsOf } from '../../../launcher/sweep/plan';
import type { SweepFile } from '../../../launcher/sweep/records';
import { SweepFolder } from '../../../launcher/sweep/store';
import { type SweepKind, sweep } from '../../../launcher/sweep/sweep';
import { readThroughputArgs } from '../../../src/bench/throughput_args';
import { environment } from '../../../src/config';
import { HvdError, UsageError } from '../../../src/errors';
import { bytesByHost, whyNotFits, whyNotHeld } from './memory';
import { writeStudy } from './results';
import { readStudyArguments, type StudySettings, studyHelp } from './settings';
import { benchmarkWords, type Hosts, launchWords, type Placement, placementOf, strategyOf } from './strategies';
import type { Facts } from './summary';

const BENCHMARK = path.join(__dirname, '..', '..', '..', 'src', 'bench', 'throughput.js');
const outside = {
  cwd: process.cwd(),
  env: environment(),
  readText: (file: string) => readFileSync(file, 'utf8'),
  isFile: (file: string) => statSync(file, { throwIfNoEntry: false })?.isFile() ?? false,
};

/** As `tsrun sweep` reads it, and the hosts of its jobs. */
function requestOf({ workers, repeats, folder, runsFailedAgain, isDryRun, networks, benchmark, tsrun }: StudySettings): {
  request: SweepRequest;
  hosts: Hosts;
} {
  const own = [
    `-np=${workers.join(',')}`,
    '--strategy=ring',
    `--repeats=${repeats}`,
    `--out=${folder}`,
    `--vary=network=${networks.join(',')}`,
  ];
  const flags = [...(runsFailedAgain ? ['--again-failed'] : []), ...(isDryRun ? ['--dry-run'] : [])];
  const line = parseCommandLine(['sweep', ...tsrun, ...own, ...flags, BENCHMARK, ...benchmark], outside, BENCHMARK);
  const job = parseCommandLine([...tsrun, '-np=1', BENCHMARK], outside, BENCHMARK);
  if (line.kind !== 'sweep' || job.kind !== 'run') throw new UsageError('That is no study: see --help.');
  return { request: line.request, hosts: { all: job.request.hosts, oversubscribe: job.request.oversubscribe } };
}

function kindOf(asked: Asked, settings: StudySettings, hosts: Hosts): SweepKind {
  const { networks, benchmark, emulate, slowDown, linkGbit } = settings;
  const plan = cellsOf(asked).map((cell) => ({ cell, place: placementOf(strategyOf(cell.strategy), cell.workers, hosts) }));
  const first = readThroughputArgs([`--network=${networks[0]}`, ...benchmark]);
  const memory = {
    // Hosts may be containers of one machine, or machines: only of this machine alone it is known.
    all: settings.memoryBytes ?? (hosts.all || settings.memoryPerHostBytes !== undefined ? undefined : process.availableMemory()),
    each: settings.memoryPerHostBytes,
  };
  const whyNot = (cell: Cell, place: Placement | string): string | undefined => {
    if (typeof place === 'string') return place;
    const {
      network,
      batchSize,
      size: imageSize,
      classes,
      dataWorkers,
      optimizer,
    } = readThroughputArgs([`--network=${cell.values.network}`, ...benchmark]);
    const run = { network, batchSize, imageSize, classes, dataWorkers, optimizer, isEmulated: emulate !== undefined };
    const strategy = strategyOf(cell.strategy);
    return whyNotHeld(run, strategy, place) ?? whyNotFits(bytesByHost(run, strategy, place), memory);
  };
  const leftOut = plan.flatMap(({ cell, place }) => {
    const why = whyNot(cell, place);
    return why === undefined ? [] : [{ cell, why }];
  });
  const facts: Facts = {
    batchSize: first.batchSize,
    imageSize: benchmark.some((word) => word.startsWith('--image-size=')) ? first.size : undefined,
    classes: first.classes,
    emulated: emulate,
    slowDown,
    linkGbit,
    hasLinks: plan.every(({ place }) => typeof place === 'string' || (!!hosts.all && new Set(place.ranks).size === place.ranks.length)),
    leftOut,
  };
  const wordsOf = ({ options, command }: Asked, { workers, strategy: name, values }: Cell): string[] => {
    const strategy = strategyOf(name);
    const place = placementOf(strategy, workers, hosts) as Placement;
    const own = [`--network=${values.network}`, ...benchmarkWords(strategy, settings.iterations)];
    return [...options, ...launchWords(strategy, workers, place), ...command, ...own];
  };
  return { wordsOf, leftOut, facts, writeResults: writeStudy, resultFile: 'tables.md' };
}

/** Draws a folder's tables and figures anew. */
async function report(folder: string): Promise<void> {
  const where = path.resolve(folder);
  let file: SweepFile | undefined;
  try {
    file = JSON.parse(readFileSync(path.join(where, 'sweep.json'), 'utf8')) as SweepFile;
  } catch (error) {
    throw new UsageError(`--report ${folder}: there is no study that can be read: ${(error as Error).message}`);
  }
  if (!file.facts || !file.asked) throw new UsageError(`--report ${folder}: the sweep there is no study.`);
  const { store } = SweepFolder.open(where, file.asked);
  try {
    process.stdout.write(`${(await writeStudy(store, file)).text}\n`);
  } finally {
    store.unlock();
  }
}

async function run(words: readonly string[]): Promise<number> {
  const given = readStudyArguments(words);
  if (given.kind === 'help') {
    process.stdout.write(`${studyHelp}\n`);
    return 0;
  }
  if (given.kind === 'report') {
    await report(given.folder);
    return 0;
  }
  const { settings } = given;
  const { request, hosts } = requestOf(settings);
  const forServers = settings.psHosts?.split(',');
  const asked: Asked = { ...request.asked, strategies: settings.strategies.map(({ name }) => name), isStrategyGiven: true };
  const commandLine = ['node', 'scripts/study/distributed.mjs', ...words].join(' ');
  return sweep({ ...request, asked, commandLine, metric: 'imagesPerSec' }, kindOf(asked, settings, { ...hosts, forServers }));
}

/** @returns the exit code */
export async function main(words: readonly string[]): Promise<number> {
  try {
    return await run(words);
  } catch (error) {
    const isUsers = (error instanceof HvdError && error.code !== 'ERR_HVD_BUG') || error instanceof LaunchError;
    process.stderr.write(`study: ${isUsers ? error.message : ((error as Error)?.stack ?? String(error))}\n`);
    return isUsers ? 2 : 1;
  }
}
