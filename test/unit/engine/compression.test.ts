/** Reductions whose floats travel in 16 bits: within the promised error, the same bits on all ranks, over every algorithm and with transports that take what is sent as late as they may. */
import fc from 'fast-check';
import t from 'tap';
import { execute } from '../../../src/collective/execute';
import type { Plan } from '../../../src/collective/plan';
import { defaultPolicy } from '../../../src/collective/select';
import { type Algorithm, algorithms } from '../../../src/config';
import { arrayTypeOf, type Dtype, type HalfFormat, halfFormats, type NumericArray } from '../../../src/dtype';
import type { Call, CallOp } from '../../../src/engine/call';
import { wireFormOf } from '../../../src/engine/compression';
import { layOutRegions } from '../../../src/engine/messages';
import { Operations } from '../../../src/engine/operations';
import { BugError } from '../../../src/errors';
import { bytesOf, createMemory } from '../../../src/memory/arena';
import { makeKernels } from '../../../src/memory/kernels';
import { type InProcessTransport, inProcessTransports } from '../../../src/transport/in_process';
import { halfBound } from '../../helpers/half_bound';
import { allreduces } from '../collective/algorithms';
import { randomFrom } from '../collective/simulation';
import { call } from './calls';

const MOST_RANKS = 6;
const regions = layOutRegions(0);
const at = regions.reservedBytes;
const memories = Array.from({ length: MOST_RANKS }, () => {
  const memory = createMemory();
  memory.grow(Math.ceil((at + (1 << 20)) / 65536));
  return { memory, kernels: makeKernels(memory) };
});

type Floats = Float32Array | Float64Array;
const bytesIn = (array: NumericArray): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const floatsIn = (dtype: Dtype, bytes: Uint8Array): Floats => new (arrayTypeOf(dtype))(bytes.slice().buffer) as Floats;
/** From fp16's denormals to a hundred; sums stay finite in fp16. */
const operandsOf = (dtype: Dtype, size: number, elems: number, seed: number): Floats[] => {
  const random = randomFrom(seed);
  return Array.from({ length: size }, () => {
    const array = new (arrayTypeOf(dtype))(elems) as Floats;
    for (let i = 0; i < elems; i += 1) array[i] = (random() - 0.5) * 2 ** Math.floor(random() * 30 - 22);
    return array;
  });
};

/** The first element that is farther from the exact one than is promised; −1: none. */
function tooFar(format: HalfFormat, { op, prescale, postscale }: Call, operands: readonly Floats[], result: Floats): number {
  const size = operands.length;
  const factor = op === 'average' ? prescale / size : prescale;
  return result.findIndex((value, i) => {
    const terms = operands.map((operand) => factor * operand[i]!);
    if (op === 'min' || op === 'max') {
      const extreme = Math[op](...terms);
      return !(Math.abs(value - postscale * extreme) <= halfBound(format, 2, Math.abs(extreme), postscale));
    }
    const exact = postscale * terms.reduce((sum, term) => sum + term);
    const magnitudes = terms.reduce((sum, term) => sum + Math.abs(term), 0);
    return !(Math.abs(value - exact) <= halfBound(format, size, magnitudes, postscale));
  });
}

/** Two ranks on the first host. */
const hostOf = (rank: number): string => (rank < 2 ? 'a' : 'b');

async function reduced(
  one: Call,
  operands: readonly Floats[],
  algorithm?: Algorithm,
): Promise<{ results: Uint8Array[]; transports: InProcessTransport[] }> {
  const transports = inProcessTransports(operands.length, { lazy: true });
  const bytes = operands[0]!.byteLength;
  const results = await Promise.all(
    operands.map(async (operand, rank) => {
      const { memory, kernels } = memories[rank]!;
      bytesOf(memory, at, bytes).set(bytesIn(operand));
      const operations = new Operations(memory, kernels, regions, transports[rank]!, operands.length, hostOf, {
        ...defaultPolicy,
        among: algorithm ? [algorithm] : algorithms,
      });
      const submission = { id: 1, slot: 1, call: one, byteOffset: at, bytes, isAwaited: true };
      await operations.run({ keys: ['0:x'], kind: 'allreduce', processSet: 0, tag: 1, sizes: [] }, [submission]);
      return bytesOf(memory, at, bytes).slice();
    }),
  );
  return { results, transports };
}
const areEqual = (results: readonly Uint8Array[]): boolean => results.every((one) => Buffer.compare(one, results[0]!) === 0);

for (const format of halfFormats)
  for (const dtype of ['float32', 'float64'] as const)
    t.test(`${format}, ${dtype}: 2 to ${MOST_RANKS} ranks, every algorithm and op, within the bound and equal`, async (t) => {
      let cases = 0;
      for (let size = 2; size <= MOST_RANKS; size += 1)
        for (const elems of [1, size + 1, 1000, 20_001])
          for (const op of ['sum', 'average', 'min', 'max'] as const)
            for (const [prescale, postscale] of [
              [1, 1],
              [0.7, 3.1],
            ] as const) {
              const one = call('x', { dtype, op, prescale, postscale, parts: [[elems]], compression: format });
              const operands = operandsOf(dtype, size, elems, size * elems);
              // As there are 32 cases of each size, each meets each algorithm.
              const algorithm = algorithms[cases++ % algorithms.length]!;
              const { results } = await reduced(one, operands, algorithm);
              const what = `${algorithm}, ${op} of ${elems} on ${size} ranks, factors ${prescale} and ${postscale}`;
              t.equal(tooFar(format, one, operands, floatsIn(dtype, results[0]!)), -1, what);
              t.ok(areEqual(results), `${what}: replicas`);
            }
    });

t.test('half of the bytes travel; with one rank none, and nothing is rounded', async (t) => {
  const operands = operandsOf('float32', 4, 20_000, 3);
  const { transports } = await reduced(call('x', { parts: [[20_000]], compression: 'fp16' }), operands, 'ring');
  t.same(
    transports.map(({ bytesSent }) => bytesSent),
    Array(4).fill(2 * (3 / 4) * 20_000 * 2),
  );
  const alone = await reduced(call('x', { parts: [[20_000]], op: 'average', compression: 'fp16' }), operands.slice(0, 1));
  t.same(Buffer.compare(alone.results[0]!, bytesIn(operands[0]!)), 0);
});

t.test('what rides with the negotiation is rounded too: on two ranks to the bits of the plan, on all within the bound', async (t) => {
  for (const format of halfFormats)
    for (const op of ['sum', 'average', 'min', 'max', 'product'] as CallOp[])
      for (let size = 2; size <= MOST_RANKS; size += 1) {
        const one = call('x', { op, parts: [[33]], prescale: 0.7, postscale: 3.1, compression: format });
        const operands = operandsOf('float32', size, 33, size);
        const { memory, kernels } = memories[0]!;
        const own = new Operations(memory, kernels, regions, inProcessTransports(size)[0]!, size, () => 'here', defaultPolicy);
        const combined = own.combine(one, operands.map(bytesIn));
        if (op !== 'product') t.equal(tooFar(format, one, operands, floatsIn('float32', combined)), -1, `${op} on ${size} ranks`);
        if (size === 2) t.same((await reduced(one, operands)).results, [combined, combined], `${op}, plan`);
      }
});

t.test('infinities, NaN and what is too large for fp16, the same on all ranks', async (t) => {
  const operands = [
    Float32Array.of(1e5, Number.NaN, Number.POSITIVE_INFINITY, 40_000, -0, 3e38),
    Float32Array.of(1, 1, Number.NEGATIVE_INFINITY, 40_000, -0, -3e38),
    Float32Array.of(1, 1, 1, 1, -0, 1),
  ];
  const sum = await reduced(call('x', { parts: [[6]], compression: 'fp16' }), operands);
  t.ok(areEqual(sum.results));
  const infinite = Number.POSITIVE_INFINITY;
  t.same([...floatsIn('float32', sum.results[0]!)], [infinite, Number.NaN, Number.NaN, infinite, -0, Number.NaN]);
  const average = await reduced(call('x', { op: 'average', parts: [[6]], compression: 'fp16' }), operands);
  t.ok(areEqual(average.results));
  t.ok(Math.abs(floatsIn('float32', average.results[0]!)[3]! - 80_001 / 3) < 40, 'an average is divided before it could overflow');
  const wide = await reduced(call('x', { parts: [[6]], compression: 'bf16' }), operands);
  t.ok(Math.abs(floatsIn('float32', wide.results[0]!)[0]! / 100_002 - 1) < 3 * 2 ** -8, "bf16 has float32's range");
});

/** A plan carried out in slots of little scratch, as they are reused again and again. */
async function executed(
  plans: readonly Plan[],
  operands: readonly Floats[],
  scratchBytes: number,
  format: HalfFormat,
): Promise<Uint8Array[]> {
  const transports = inProcessTransports(plans.length, { lazy: true });
  const members = plans.map((_, rank) => rank);
  const one = call('x', { compression: format });
  return Promise.all(
    plans.map(async (plan, rank) => {
      const { memory, kernels } = memories[rank]!;
      const bytes = bytesOf(memory, at, operands[rank]!.byteLength);
      bytes.set(bytesIn(operands[rank]!));
      const scratch = bytesOf(memory, regions.scratch.byteOffset, scratchBytes);
      const form = wireFormOf(kernels, format, one, 'sum', at, regions.scratch.byteOffset);
      const finish = (elem: number, elems: number): void => kernels.half(format, 'float32').round(at + elem * 4, elems);
      await execute(plan, { transport: transports[rank]!, members, tag: 1 }, { bytes, bytesPerElem: 4, ...form, finish }, scratch);
      return bytes.slice();
    }),
  );
}

for (const [name, plansOf] of Object.entries(allreduces))
  t.test(`${name}: any size, segments and blocks, though what is sent is taken late`, async (t) => {
    const shape = fc.record({
      size: fc.integer({ min: 2, max: MOST_RANKS }),
      elems: fc.integer({ min: 0, max: 400 }),
      segmentElems: fc.integer({ min: 1, max: 32 }),
      chunkElems: fc.integer({ min: 1, max: 60 }),
    });
    await fc.assert(
      fc.asyncProperty(shape, fc.nat(1e6), fc.constantFrom(...halfFormats), async (input, seed, format) => {
        const operands = operandsOf('float32', input.size, input.elems, seed + 1);
        const results = await executed(plansOf(input), operands, 640, format);
        if (!areEqual(results)) throw new Error('replicas differ');
        const wrong = tooFar(format, call('x'), operands, floatsIn('float32', results[0]!));
        if (wrong >= 0) throw new Error(`element ${wrong} is too far off`);
      }),
      { numRuns: 150 },
    );
    t.pass();
  });

t.test('a segment that does not fit its slot is a bug', async (t) => {
  const plans = allreduces.ring!({ size: 2, elems: 66, segmentElems: 33 });
  await t.rejects(executed(plans, operandsOf('float32', 2, 66, 1), 640, 'fp16'), BugError);
});
