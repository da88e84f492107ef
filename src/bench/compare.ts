/**
 * `tsrun bench allreduce --compare`: khorovod and other libraries by turns, in the same minutes, on the same sizes; every element of all verified. A process of its own, which tsrun starts.
 *
 * A round runs each library once through all sizes; ratios are of one round. What is not installed is named, with what installs it. Ends with exit code 1 if an element was wrong or there was nothing to
 * compare with, 2 if an option was wrong. When tsrun ends, stdin closes, and this process ends all that it has started.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { bytesPerElem } from '../dtype';
import { UsageError } from '../errors';
import { writeLine } from '../log';
import { version } from '../version';
import { scheduleOf, warmUpBytes, warmUpCalls } from './collective_figures';
import { type CompareArgs, readCompareArgs } from './compare_args';
import { chartOf, type Library, tableLines } from './comparison';
import { layoutOf } from './layout';
import { describeMachine } from './machine';
import type { Row } from './measure';
import type { Peer, PeerRequest, PeerRow } from './peers/peer';
import { peers } from './peers/peers';
import { runAlone } from './peers/processes';
import { lineChart, toPng } from './plots';

/** One run of one library through all sizes; khorovod's has a list for each form. */
interface Runner {
  readonly title: string;
  run(request: PeerRequest): Promise<Array<{ name: string; title: string; version: string; rows: readonly PeerRow[] }>>;
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function compare(args: CompareArgs, folder: string): Promise<number> {
  const { runners, missing } = await prepareAll(args, folder);
  for (const line of missing) say(line);
  if (runners.length === 0) {
    writeLine('tsrun bench --compare: none of the libraries is installed, so there is nothing to compare with.');
    return 1;
  }
  const { libraries, knobs } = await runRounds(args, [...runners], folder);
  const machine = describeMachine();
  const { ranks, rounds } = args;
  const { dtype, op } = args.measured;
  const what = { ranks, dtype, op: op!, rounds };
  say(
    `# allreduce, ${dtype}, ${op}, ${ranks} ranks of one host, ${rounds} rounds in alternation; every element of every size of all verified`,
  );
  say(
    `# ${machine.kernel}, ${machine.cpu}, ${machine.cores} cores, ${Math.round(machine.memoryBytes / 2 ** 30)} GiB, Node ${process.version}`,
  );
  say(`# ${libraries.map(({ title, version }) => `${title}: ${version}`).join('; ')}`);
  say('# p50: median of the rounds; ratio: how many times as long as khorovod in place it took, in the same round');
  for (const line of tableLines(libraries)) say(line);
  const wrong = libraries.flatMap(({ sizes }) => sizes).reduce((sum, size) => sum + size.wrong, 0);
  say(wrong === 0 ? '# all results right' : `# WRONG RESULTS: ${wrong} elements`);
  const versions = { khorovod: version, node: process.version };
  const record = JSON.stringify({ kind: 'comparison', collective: 'allreduce', ...what, machine, versions, missing, knobs, libraries });
  if (args.measured.json) writeFileSync(args.measured.json, record);
  if (args.out) await writeFiles(args.out, record, chartOf(libraries, { ...what, where: `${machine.cpu}, ${machine.cores} cores` }));
  return wrong === 0 ? 0 : 1;
}

async function prepareAll({ peers: names, measured }: CompareArgs, folder: string) {
  const runners: Runner[] = [];
  const missing: string[] = [];
  for (const name of names) {
    const peer: Peer = peers[name];
    const prepared = await peer.prepare(folder);
    if (typeof prepared !== 'function') {
      missing.push(`# ${name}: left out, for it is not installed: ${prepared.why}. To install it: ${prepared.install}`);
      continue;
    }
    const run = async (request: PeerRequest) => {
      const bytes = warmUpBytes(Math.max(...request.schedules.map((schedule) => schedule.bytes)));
      const first = { bytes, warmUps: warmUpCalls(measured.iterations), iterations: 1, isAligned: true };
      const { version, rows } = await prepared({ ...request, schedules: [first, ...request.schedules] });
      return [{ name, title: peer.title, version, rows: rows.slice(1) }];
    };
    runners.push({ title: peer.title, run });
  }
  return { runners, missing };
}

async function runRounds(args: CompareArgs, others: readonly Runner[], folder: string) {
  const { measured, ranks, rounds } = args;
  const { dtype, sizes: asked, iterations } = measured;
  const sizes = [...new Set(asked.map((bytes) => layoutOf('allreduce', bytes, bytesPerElem(dtype), 1, { ranks, rank: 0 }).bytes))];
  const schedules = sizes.map((bytes) => scheduleOf(bytes, iterations));
  const found = new Map<string, { title: string; version: string; rounds: PeerRow[][] }>();
  let knobs: unknown;
  const own: Runner = {
    title: 'khorovod',
    run: async (request) => {
      const json = path.join(request.folder, 'own.json');
      const words = ['bench', ...args.words, '--np', `${ranks}`, ...args.tsrunWords, '--json', json];
      const out = await runAlone({ argv: [process.execPath, args.tsrun, ...words] }).catch((error: Error) => error);
      // With wrong elements it fails, and has written what it found.
      const record = readRecord(json);
      if (!record) throw out instanceof Error ? out : new Error('khorovod wrote no record of its run.');
      knobs = record.knobs;
      const forms = [...new Set(record.rows.map(({ form }) => form))];
      return forms.map((form) => ({
        name: `khorovod ${form}`,
        title: `khorovod ${form}`,
        version,
        rows: record.rows.filter((row) => row.form === form),
      }));
    },
  };
  for (let round = 0; round < rounds; round += 1) {
    for (const [i, runner] of [own, ...others].entries()) {
      writeLine(`round ${round + 1} of ${rounds}: ${runner.title}`);
      const ownFolder = path.join(folder, `round-${round}-${i}`);
      mkdirSync(ownFolder);
      const { op } = measured;
      for (const { name, title, version, rows } of await runner.run({ ranks, dtype, op: op!, schedules, folder: ownFolder })) {
        const entry = found.get(name) ?? { title, version, rounds: [] };
        entry.rounds.push([...rows]);
        found.set(name, entry);
      }
    }
  }
  const libraries: Library[] = [...found].map(([name, { title, version, rounds: all }]) => ({
    name,
    title,
    version,
    sizes: sizes.map((bytes, i) => ({
      bytes,
      rounds: all.map((rows) => rows[i]!.samplesUs),
      wrong: all.reduce((sum, rows) => sum + rows[i]!.wrong, 0),
    })),
  }));
  return { libraries, knobs };
}

function readRecord(file: string): { knobs: unknown; rows: Row[] } | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as { knobs: unknown; rows: Row[] };
  } catch {
    return undefined;
  }
}

async function writeFiles(folder: string, record: string, chart: Parameters<typeof lineChart>[0]): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const svg = await lineChart(chart);
  writeFileSync(path.join(folder, 'allreduce.json'), record);
  writeFileSync(path.join(folder, 'allreduce.svg'), svg);
  writeFileSync(path.join(folder, 'allreduce.png'), await toPng(svg));
  say(`# ${['json', 'svg', 'png'].map((kind) => path.join(folder, `allreduce.${kind}`)).join(', ')}`);
}

/** All that was started is of this process's group. */
function endWithTsrun(): void {
  process.stdin.resume().once('end', () => process.kill(-process.pid, 'SIGTERM'));
  (process.stdin as unknown as { unref(): void }).unref();
}

async function main(): Promise<void> {
  endWithTsrun();
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-compare-'));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => {
      rmSync(folder, { recursive: true, force: true });
      process.kill(process.pid, signal);
    });
  try {
    process.exitCode = await compare(readCompareArgs(process.argv.slice(2)), folder);
  } catch (error) {
    writeLine(`tsrun bench --compare: ${(error as Error).message}`);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

void main();
