/**
 * `tsrun bench allreduce`: the collective alone, in nccl-tests' columns. Runs on every rank; rank 0 prints.
 *
 * Three forms: out of place (typed arrays), in place on an array from `allocate` (nothing is copied), and, with --tensors, tensors of the wasm backend. Every size is verified
 * before and after it is timed; timed buffers hold zeros, so that sums stay finite. Time is the median over the iterations on rank 0, each begun together by a barrier.
 * algbw = bytes / time (of the tensor: with --compression half as many travel); busbw = algbw · 2(n−1)/n, to be compared with the link's rate whatever n is (nccl-tests, PERFORMANCE.md).
 *
 * With --tls all sizes are measured by turns in the clear and encrypted; what is printed is TLS's, and beside it stand the time in the clear and the ratio of both. Each turn forms the
 * job anew (its rendezvous stays encrypted) and goes through the sizes as a run without --tls does: compiled code is as warm, and a change of the machine's pace meets both.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { HalfFormat } from '../dtype';
import { UsageError } from '../errors';
import * as hvd from '../index';
import { initInTheClear, isEncrypted } from '../job';
import { version } from '../version';

interface Row {
  bytes: number;
  form: string;
  samplesUs: number[];
  /** With --tls: of the turns in the clear. */
  plainUs?: number[];
  wrong: number;
}

const units: Record<string, number> = { '': 1, K: 1 << 10, M: 1 << 20, G: 1 << 30 };

/** '1K..64M' (doubling factor 4) or '1K,64K,1M' in bytes. @throws UsageError */
export function parseSizes(text: string): number[] {
  const one = (word: string): number => {
    const found = /^(\d+)([KMG]?)(i?B)?$/i.exec(word.trim());
    if (!found) throw new UsageError(`--sizes '${text}': '${word}' is no size. Write 1K..64M or 1K,64K,1M.`);
    return Number(found[1]) * units[found[2]!.toUpperCase()]!;
  };
  const range = /^(.+)\.\.(.+)$/.exec(text);
  if (!range) return text.split(',').map(one);
  const [first, last] = [one(range[1]!), one(range[2]!)];
  if (first < 1 || last < first) throw new UsageError(`--sizes '${text}': the range is empty.`);
  const sizes: number[] = [];
  for (let bytes = first; bytes <= last; bytes *= 4) sizes.push(bytes);
  if (sizes.at(-1) !== last) sizes.push(last);
  return sizes;
}

/** Up to here a call takes so little time that compiled code is all of it: V8 has compiled what is called some thousand times. */
const SMALL_BYTES = 64 << 10;
const iterationsFor = (bytes: number): number => (bytes <= SMALL_BYTES ? 2000 : bytes <= 1 << 20 ? 100 : 15);
const warmUpsFor = (bytes: number, iterations: number): number =>
  bytes <= SMALL_BYTES ? 2 * iterations : Math.max(2, Math.ceil(iterations / 2));
const pattern = (rank: number, i: number): number => (rank + 1) * ((i % 7) + 1);

interface Form {
  name: string;
  reduce: () => ArrayLike<number>;
  fill: (at: (i: number) => number) => void;
  dispose: () => void;
  /** Relative. */
  tolerance: number;
}
/** The unit roundoff of what travels. */
const roundoffs: Record<string, number> = { none: 0, fp16: 2 ** -11, bf16: 2 ** -8 };

type Tensors = typeof import('@tensorflow/tfjs');

function forms(elems: number, tensors: Tensors | undefined, compression: hvd.Compressor): Form[] {
  const plain = new Float32Array(elems);
  const placed = hvd.allocate(Float32Array, elems);
  const tolerance = (1 + roundoffs[compression.name]!) ** hvd.size() - 1;
  const list: Form[] = [
    {
      name: 'out-of-place',
      reduce: () => hvd.allreduce(plain, { op: 'sum', name: 'bench', compression }),
      fill: (at) => fill(plain, at),
      dispose: () => {},
      tolerance,
    },
    {
      name: 'in-place',
      reduce: () => hvd.allreduce(placed, { op: 'sum', name: 'bench', compression, inPlace: true }),
      fill: (at) => fill(placed, at),
      dispose: () => hvd.release(placed),
      tolerance,
    },
  ];
  if (tensors) {
    let tensor = tensors.zeros([elems]);
    list.push({
      name: 'tensor',
      reduce: () => {
        const sum = hvd.allreduce(tensor, { op: 'sum', name: 'bench', compression });
        const values = elems <= 1 << 18 ? sum.dataSync() : new Float32Array(0);
        sum.dispose();
        return values;
      },
      fill: (at) => {
        tensor.dispose();
        const values = new Float32Array(elems);
        fill(values, at);
        tensor = tensors.tensor1d(values);
      },
      dispose: () => tensor.dispose(),
      tolerance,
    });
  }
  return list;
}

function fill(array: Float32Array, at: (i: number) => number): void {
  for (let i = 0; i < array.length; i += 1) array[i] = at(i);
}

/** Elements that are not what the definition says; with compression, that are not within its bound. */
function wrongElems(form: Form): number {
  const [rank, size] = [hvd.rank(), hvd.size()];
  form.fill((i) => pattern(rank, i));
  const result = form.reduce();
  const factor = (size * (size + 1)) / 2;
  let wrong = 0;
  for (let i = 0; i < result.length; i += 1) {
    const exact = factor * ((i % 7) + 1);
    if (!(Math.abs(result[i]! - exact) <= form.tolerance * exact)) wrong += 1;
  }
  return wrong;
}

/** One turn of one form. */
function measure(bytes: number, form: Form, iterations: number): Row {
  let wrong = wrongElems(form);
  form.fill(() => 0);
  const samplesUs: number[] = [];
  for (let i = -warmUpsFor(bytes, iterations); i < iterations; i += 1) {
    if (bytes > SMALL_BYTES) hvd.barrier();
    const startedMs = performance.now();
    form.reduce();
    if (i >= 0) samplesUs.push((performance.now() - startedMs) * 1000);
  }
  wrong += wrongElems(form);
  const all = hvd.allreduce(Float64Array.of(wrong), { op: 'sum', name: 'bench.wrong' })[0]!;
  return { bytes, form: form.name, samplesUs, wrong: all };
}

/** All forms of one size, in the job as it is. */
function measureAll(bytes: number, iterations: number, tensors: Tensors | undefined, compression: hvd.Compressor): Row[] {
  const elems = Math.max(1, Math.floor(bytes / 4));
  const list = forms(elems, tensors, compression);
  const rows = list.map((form) => measure(elems * 4, form, iterations));
  for (const form of list) form.dispose();
  return rows;
}

/** With --tls, of each kind. */
const TURNS = 2;

/** Samples of all turns together. */
const joined = (turns: readonly Row[]): Row => ({
  ...turns[0]!,
  samplesUs: turns.flatMap(({ samplesUs }) => samplesUs),
  wrong: turns.reduce((sum, { wrong }) => sum + wrong, 0),
});

/** One size: what was measured encrypted, beside what was in the clear. */
function compared(encrypted: readonly Row[], plain: readonly Row[]): Row {
  const [own, other] = [joined(encrypted), joined(plain)];
  return { ...own, plainUs: other.samplesUs, wrong: own.wrong + other.wrong };
}

/** Sizes are shown in the last turn. */
function compareBySweeps(sizes: readonly number[], measured: (bytes: number) => Row[], show: (bytes: number, rows: Row[]) => void): void {
  /** By size: a row of rows for each turn. */
  const plain: Row[][][] = sizes.map(() => []);
  const encrypted: Row[][][] = sizes.map(() => []);
  for (let turn = 1; turn <= TURNS; turn += 1) {
    hvd.shutdown();
    initInTheClear();
    for (const [i, bytes] of sizes.entries()) plain[i]!.push(measured(bytes));
    hvd.shutdown();
    hvd.init();
    for (const [i, bytes] of sizes.entries()) {
      encrypted[i]!.push(measured(bytes));
      const of = (turns: Row[][], form: number): Row[] => turns.map((rows) => rows[form]!);
      if (turn === TURNS)
        show(
          bytes,
          encrypted[i]![0]!.map((_, form) => compared(of(encrypted[i]!, form), of(plain[i]!, form))),
        );
    }
  }
}

const median = (samples: number[]): number => [...samples].sort((a, b) => a - b)[Math.floor(samples.length / 2)]!;
const cell = (value: number | string, width: number): string => String(value).padStart(width);
const columns = (texts: readonly (number | string)[]): string => texts.map((text, i) => cell(text, i === 0 ? 12 : 8)).join('');
const figures = ({ bytes, samplesUs, plainUs, wrong }: Row, size: number): string => {
  const us = median(samplesUs);
  const algbw = bytes / us / 1e3;
  const own = columns([us.toFixed(1), algbw.toFixed(2), ((algbw * 2 * (size - 1)) / size).toFixed(2), wrong]);
  return plainUs ? own + columns([median(plainUs).toFixed(1), (us / median(plainUs)).toFixed(2)]) : own;
};

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      sizes: { type: 'string', default: '1K..64M' },
      iterations: { type: 'string' },
      json: { type: 'string' },
      tensors: { type: 'boolean', default: false },
      compression: { type: 'string', default: 'none' },
    },
  });
  // Of the others no call by itself has a bound that could be verified.
  if (!Object.hasOwn(roundoffs, values.compression!))
    throw new UsageError(`--compression '${values.compression}': it is ${Object.keys(roundoffs).join(', ')}.`);
  const compression = hvd.Compression[values.compression as 'none' | HalfFormat];
  const sizes = parseSizes(values.sizes);
  const say = (text: string): void => {
    if (hvd.rank() === 0) process.stdout.write(`${text}\n`);
  };
  hvd.init();
  const tensors = values.tensors ? (await hvd.selectBackend('wasm')).tf : undefined;
  const names = forms(0, tensors, compression).map(({ name }) => name);
  const isCompared = isEncrypted();
  const head = (own: string[], compared: string[]): string =>
    names.map(() => columns(own) + (isCompared ? columns(compared) : '')).join('');
  say(
    `# khorovod ${version}, Node ${process.version}, ${hvd.size()} ranks on ${hvd.size() / hvd.localSize()} host(s), float32, sum, compression ${compression.name}; time: median; every size verified before and after`,
  );
  if (isCompared) say(`# TLS 1.3; plain: the same without it, measured by turns; ratio: time / plain`);
  say(`#${cell('', 24)}${names.map((name) => cell(name, isCompared ? 56 : 36)).join('')}`);
  say(`#${cell('size', 11)}${cell('count', 13)}${head(['time', 'algbw', 'busbw', '#wrong'], ['plain', 'ratio'])}`);
  say(`#${cell('(B)', 11)}${cell('(elements)', 13)}${head(['(us)', '(GB/s)', '(GB/s)', ''], ['(us)', ''])}`);
  const measured = (bytes: number): Row[] => measureAll(bytes, Number(values.iterations ?? iterationsFor(bytes)), tensors, compression);
  const rows: Row[] = [];
  const show = (bytes: number, found: readonly Row[]): void => {
    rows.push(...found);
    say(` ${cell(bytes, 11)}${cell(found[0]!.bytes / 4, 13)}${found.map((row) => figures(row, hvd.size())).join('')}`);
  };
  if (!isCompared) for (const bytes of sizes) show(bytes, measured(bytes));
  else compareBySweeps(sizes, measured, show);
  const wrong = rows.reduce((sum, row) => sum + row.wrong, 0);
  say(wrong === 0 ? '# all results right' : `# WRONG RESULTS: ${wrong} elements`);
  if (values.json && hvd.rank() === 0)
    writeFileSync(values.json, JSON.stringify({ version, node: process.version, size: hvd.size(), rows }));
  hvd.shutdown();
  if (wrong > 0) process.exitCode = 1;
}

if (require.main === module) void main();
