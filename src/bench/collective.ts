/**
 * `tsrun bench COLLECTIVE`: collectives alone, in nccl-tests' columns. Runs on every rank; rank 0 prints. Ends with exit code 1 if an element was wrong, 2 if an option was.
 *
 * Figures and their definitions: collective_figures.ts; what is verified, and how: measure.ts.
 */
import { writeFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { readConfig } from '../config';
import type { HalfFormat } from '../dtype';
import { UsageError } from '../errors';
import * as hvd from '../index';
import { currentEngine, isEncrypted } from '../job';
import { writeLine } from '../log';
import { version } from '../version';
import { CALLS_IN_FLIGHT, type CollectiveArgs, readCollectiveArgs } from './collective_args';
import { headLines, rowLine } from './collective_table';
import { formNames, type Measured } from './forms';
import { describeMachine, knobsOf } from './machine';
import { Measurement, type Row, roundoffs } from './measure';
import { measureBarrier } from './measure_barrier';
import { measureByTurns } from './tls_turns';

/** A rank that cannot begin waits so long for rank 0 to say why. */
const FIRST_SPEAKS_MS = 3000;

const orders = {
  single: 'one call at a time',
  'in-order': `${CALLS_IN_FLIGHT} calls under way, submitted in one order`,
  'out-of-order': `${CALLS_IN_FLIGHT} calls under way, submitted in another order by each rank`,
};

async function bench(args: CollectiveArgs, compression: hvd.Compressor): Promise<number> {
  hvd.init();
  const say = (text: string): void => {
    if (hvd.rank() === 0) process.stdout.write(`${text}\n`);
  };
  const tensors = args.hasTensors ? (await hvd.selectBackend('wasm')).tf : undefined;
  const { collective } = args;
  const measurement = new Measurement(args as CollectiveArgs & { collective: Measured }, compression, tensors);
  const isBarrier = collective === 'barrier';
  const names = isBarrier ? (['out-of-place'] as const) : formNames(args);
  const measured = (bytes: number): Row[] =>
    isBarrier ? [measureBarrier(args.iterations)] : names.map((name) => measurement.row(name, bytes));
  // None is less than one element.
  const sizes = isBarrier ? args.sizes : [...new Set(args.sizes.map((bytes) => measurement.layout(bytes).bytes))];

  const machine = describeMachine();
  const ranks = hvd.size();
  say(
    `# khorovod ${version}, Node ${process.version}, ${machine.kernel}, ${machine.cpu}, ${machine.cores} cores, ${Math.round(machine.memoryBytes / 2 ** 30)} GiB`,
  );
  say(
    `# ${collective}, ${ranks} ranks on ${hvd.crossSize()} host(s), compression ${compression.name}, ${orders[args.order]}; every element of every size verified`,
  );
  say(
    '# time: mean; algbw = size / time; busbw: to be compared with the rate of a link; copied: bytes that a rank copies on its host for each byte of size',
  );
  if (isEncrypted()) say('# TLS 1.3; plain: the mean without it, measured by turns; ratio: time / plain');
  for (const head of headLines(names, isEncrypted())) say(head);
  if (!isBarrier) measurement.warmUp(names, Math.max(...sizes));
  const rows: Row[] = [];
  const show = (found: readonly Row[]): void => {
    rows.push(...found);
    say(rowLine(found, args, ranks));
  };
  if (isEncrypted()) measureByTurns(sizes, measured, show);
  else for (const bytes of sizes) show(measured(bytes));

  const wrong = rows.reduce((sum, row) => sum + row.wrong, 0);
  say(wrong === 0 ? '# all results right' : `# WRONG RESULTS: ${wrong} elements`);
  if (args.json && hvd.rank() === 0) {
    const { dtype, op = null, order, parts } = args;
    const what = { collective, dtype, op, order, parts, compression: compression.name, ranks, hosts: hvd.crossSize() };
    const versions = { khorovod: version, node: process.version };
    const knobs = knobsOf(currentEngine('bench').config);
    writeFileSync(args.json, JSON.stringify({ kind: 'collective', ...what, machine, versions, knobs, rows }));
  }
  hvd.shutdown();
  return wrong === 0 ? 0 : 1;
}

async function main(): Promise<void> {
  try {
    const args = readCollectiveArgs(process.argv.slice(2));
    if (!Object.hasOwn(roundoffs, args.compression))
      throw new UsageError(`--compression '${args.compression}': it is ${Object.keys(roundoffs).join(', ')}.`);
    process.exitCode = await bench(args, hvd.Compression[args.compression as 'none' | HalfFormat]);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    // tsrun ends all with the first: the one that says why.
    if (readConfig().rank === 0) writeLine(`tsrun bench: ${error.message}`);
    else await setTimeout(FIRST_SPEAKS_MS);
    process.exitCode = 2;
  }
}

void main();
