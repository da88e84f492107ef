/** Compression on real processes: results within the promised error, equal to the bit on all ranks, integers untouched; and a model that is trained with it. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';
import { halfBound } from '../helpers/half_bound';
import { bytesOf, largestDifference, smallNetwork, trainStep, weightsOf } from '../helpers/small_network';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const everyone = Array.from({ length: size }, (_, r) => r);
const formats = ['fp16', 'bf16'] as const;

/** Every rank's bytes are this rank's. */
function isSameEverywhere(array: Float32Array | Float64Array): boolean {
  const own = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  const all = hvd.allgather(own);
  return everyone.every((r) => Buffer.compare(all.subarray(r * own.length, (r + 1) * own.length), own) === 0);
}
/** Of very different sizes, the same in every process. */
const value = (r: number, i: number): number => Math.fround(Math.sin(i * 12.9898 + r * 78.233) * 2 ** ((i % 29) - 18));
const filled = <T extends Float32Array | Float64Array>(array: T, r: number): T => {
  for (let i = 0; i < array.length; i += 1) array[i] = value(r, i);
  return array;
};

/** For each element the exact sum, and the sum of magnitudes. */
const exactly = (elems: number): Array<readonly [number, number]> =>
  Array.from({ length: elems }, (_, i) => {
    const terms = everyone.map((r) => value(r, i));
    return [terms.reduce((sum, term) => sum + term), terms.reduce((sum, term) => sum + Math.abs(term), 0)] as const;
  });
const MOST = 200_001;
const exact = exactly(MOST);

/** With one rank nothing is rounded. */
function isWithin(format: 'fp16' | 'bf16', op: 'sum' | 'average', result: Float32Array | Float64Array): boolean {
  const divisor = op === 'average' ? size : 1;
  return result.every((found, i) => {
    const [sum, magnitudes] = exact[i]!;
    return size === 1 ? found === sum : Math.abs(found - sum / divisor) <= halfBound(format, size, magnitudes / divisor);
  });
}

for (const format of formats) {
  const compression = hvd.Compression[format];
  t.test(`${format}: every form of allreduce, small and large`, async (t) => {
    for (const op of ['sum', 'average'] as const)
      for (const elems of [0, 1, 100, 5000, MOST]) {
        const mine = filled(new Float32Array(elems), rank);
        const placed = hvd.allocate(Float32Array, elems);
        placed.set(mine);
        const results: Record<string, Float32Array> = {
          blocking: hvd.allreduce(mine, { op, compression }),
          asynchronous: hvd.synchronize(hvd.allreduceAsync(mine, { op, compression })),
          'in place': hvd.allreduce(placed, { op, compression, inPlace: true }),
          grouped: hvd.groupedAllreduce([mine, mine], { op, compression })[0]!,
          'grouped, asynchronous': hvd.synchronize(hvd.groupedAllreduceAsync([mine], { op, compression }))[0]!,
        };
        for (const [how, result] of Object.entries(results)) {
          t.ok(isWithin(format, op, result), `${how} ${op} of ${elems}`);
          t.ok(isSameEverywhere(result), `${how} ${op} of ${elems}: replicas`);
        }
        t.equal(mine[elems - 1], elems > 0 ? value(rank, elems - 1) : undefined, 'the argument is left alone');
        hvd.release(placed);
      }
    const wide = hvd.allreduce(filled(new Float64Array(5000), rank), { op: 'sum', compression });
    t.ok(wide instanceof Float64Array && isWithin(format, 'sum', wide), 'float64 comes back as float64');
    t.ok(isSameEverywhere(wide));
    const tensor = hvd.allreduce(tf.tensor1d(filled(new Float32Array(300), rank)), { compression });
    t.ok(tensor.dtype === 'float32' && isWithin(format, 'average', tensor.dataSync() as Float32Array), 'a tensor');
  });

  t.test(`${format}: integers are untouched`, async (t) => {
    const large = 2 ** 24 + 1;
    for (const elems of [1, 20_000]) {
      const sum = hvd.allreduce(new Int32Array(elems).fill(large + rank), { op: 'sum', compression });
      const exact = everyone.reduce((total, r) => total + large + r, 0);
      t.ok(sum.every((one) => one === exact));
    }
  });

  t.test(`${format}: training is what it is without, but for the rounding of its gradients`, async (t) => {
    const [STEPS, BATCH, RATE] = [20, 4, 0.05];
    const loss = 'categoricalCrossentropy';
    const [compressed, plain] = [smallNetwork(1), smallNetwork(1)];
    compressed.compile({ optimizer: hvd.DistributedOptimizer(tf.train.sgd(RATE), { compression }), loss });
    plain.compile({ optimizer: tf.train.sgd(RATE), loss });
    for (let step = 0; step < STEPS; step += 1) {
      const from = step * BATCH * size;
      await trainStep(compressed, from + rank * BATCH, BATCH);
      await trainStep(plain, from, BATCH * size);
    }
    const [own, whole] = [weightsOf(compressed), weightsOf(plain)];
    if (size === 1) t.same(bytesOf(own), bytesOf(whole), 'one rank: to the bit what the plain optimizer gives');
    // Gradients of this network stay below 1; each step adds its rounding.
    else {
      const most = STEPS * RATE * halfBound(format, size, 1);
      const off = largestDifference(own, whole);
      t.ok(off < most && off > 0, `off by ${off} of at most ${most}`);
    }
    t.ok(isSameEverywhere(own), 'replicas are equal');
  });
}

t.test('a variable without gradient on some ranks, with a factor that fp16 alone could not hold', async (t) => {
  const [a, idle] = [tf.variable(tf.scalar(1)), tf.variable(tf.scalar(1))];
  const optimizer = hvd.DistributedOptimizer(tf.train.sgd(1), { compression: hvd.Compression.fp16, gradientPredivideFactor: 1e6 });
  optimizer.minimize(() => (rank === 0 ? a.mul(1000) : a.mul(0)).asScalar(), false, [a, idle]);
  const [found] = a.dataSync() as Float32Array;
  t.ok(Math.abs(1 - found! - 1000 / size) < 1000 * 0.01, `${found}`);
  t.equal(idle.dataSync()[0], 1);
  tf.dispose([a, idle]);
});

t.test('ranks that disagree are told; a thing that is no Compressor is refused at the call', async (t) => {
  const ones = new Float32Array(9).fill(1);
  if (size > 1)
    t.throws(() => hvd.allreduce(ones, { name: 'forms', compression: rank === 0 ? hvd.Compression.none : hvd.Compression.bf16 }), {
      code: 'ERR_HVD_MISMATCH',
      message: /Mismatched compression.*compression none on rank 0.*compression bf16 on rank 1/,
    });
  for (const compression of ['fp16', { name: 'fp16' }, null, 16]) {
    const usage = { code: 'ERR_HVD_USAGE', message: /Compression\.none, \.fp16, \.bf16/ };
    t.throws(() => hvd.allreduce(ones, { compression: compression as never }), usage);
    t.throws(() => hvd.DistributedOptimizer('sgd', { compression: compression as never }), usage);
  }
  t.throws(() => hvd.allgather(ones, { compression: hvd.Compression.fp16 } as never), { code: 'ERR_HVD_USAGE' });
  t.same([...hvd.allreduce(ones, { op: 'sum', compression: hvd.Compression.none })], Array(9).fill(size));
});

t.before(async () => {
  await hvd.selectBackend();
});
