/** Compressors that keep a residual, on real processes: every form of allreduce, replicas equal to the bit, training that converges, and the errors at the call. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';
import { largestDifference, smallNetwork, trainStep, weightsOf } from '../helpers/small_network';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const everyone = Array.from({ length: size }, (_, r) => r);
const compressors: Record<string, hvd.Compressor> = {
  int8: hvd.Compression.int8,
  topK: hvd.Compression.topK({ ratio: 0.1 }),
  powerSGD: hvd.Compression.powerSGD({ rank: 2 }),
};

/** Every rank's bytes are this rank's. */
function isSameEverywhere(array: Float32Array | Float64Array): boolean {
  const own = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  const all = hvd.allgather(own);
  return everyone.every((r) => Buffer.compare(all.subarray(r * own.length, (r + 1) * own.length), own) === 0);
}
/** The regression without compression: the same for each compressor. */
let solvedPlainly: Float32Array | undefined;
const value = (r: number, i: number): number => Math.fround(Math.sin(i * 12.9898 + r * 78.233));
const filled = <T extends Float32Array | Float64Array>(array: T): T => array.map((_, i) => value(rank, i)) as T;
const sumAt = (i: number): number => everyone.reduce((total, r) => total + value(r, i), 0);

t.test('int8: every form of allreduce, small and large', async (t) => {
  const compression = hvd.Compression.int8;
  // Magnitudes are at most 1, and each rank rounds once; the sum is rounded once more. What is kept of a name is sent with the next call of it, so each has its own.
  const bound = ((size - 1) / 2 + size / 2) * (1 / 127) * 1.02;
  for (const op of ['sum', 'average'] as const)
    for (const elems of [0, 1, 100, 5000, 200_001]) {
      const mine = filled(new Float32Array(elems));
      const placed = hvd.allocate(Float32Array, elems);
      placed.set(mine);
      const options = (how: string) => ({ op, compression, name: `${how} ${op} ${elems}` });
      const results: Record<string, Float32Array> = {
        blocking: hvd.allreduce(mine, options('blocking')),
        asynchronous: hvd.synchronize(hvd.allreduceAsync(mine, options('asynchronous'))),
        'in place': hvd.allreduce(placed, { ...options('in place'), inPlace: true }),
        grouped: hvd.groupedAllreduce([mine, mine], options('grouped'))[0]!,
        'grouped, asynchronous': hvd.synchronize(hvd.groupedAllreduceAsync([mine], options('grouped, asynchronous')))[0]!,
      };
      for (const [how, result] of Object.entries(results)) {
        const divisor = op === 'average' ? size : 1;
        const wrong = result.findIndex((found, i) => !(Math.abs(found - sumAt(i) / divisor) <= (size === 1 ? 0 : bound / divisor)));
        t.equal(wrong, -1, `${how} ${op} of ${elems}`);
        t.ok(isSameEverywhere(result), `${how} ${op} of ${elems}: replicas`);
      }
      t.equal(mine[elems - 1], elems > 0 ? value(rank, elems - 1) : undefined, 'the argument is left alone');
      hvd.release(placed);
    }
  const wide = hvd.allreduce(filled(new Float64Array(5000)), { op: 'sum', compression, name: 'wide' });
  t.ok(wide instanceof Float64Array && wide.every((found, i) => Math.abs(found - sumAt(i)) <= bound), 'float64 comes back as float64');
  const tensor = hvd.allreduce(tf.tensor1d(filled(new Float32Array(300))), { op: 'sum', compression, name: 'tensor' });
  t.ok(tensor.dtype === 'float32' && tensor.dataSync().every((found, i) => Math.abs(found - sumAt(i)) <= bound), 'a tensor');
});

for (const [name, compression] of Object.entries(compressors)) {
  t.test(`${name}: integers are untouched`, async (t) => {
    const large = 2 ** 24 + 1;
    for (const elems of [1, 20_000]) {
      const sum = hvd.allreduce(new Int32Array(elems).fill(large + rank), { op: 'sum', compression, name: `integers ${elems}` });
      const exact = everyone.reduce((total, r) => total + large + r, 0);
      t.ok(sum.every((one) => one === exact));
    }
  });

  t.test(`${name}: on a process set, each set with what it keeps`, async (t) => {
    if (size < 3) return void t.equal(hvd.globalProcessSet.size(), size, 'there is none but that of all');
    const pair = hvd.addProcessSet([0, 1]);
    const mine = filled(new Float32Array(1000));
    const ofPair = (name: string): Float32Array => hvd.allreduce(mine, { op: 'sum', compression, name, processSet: pair });
    hvd.allreduce(mine, { op: 'sum', compression, name: `sets ${name}` });
    if (pair.included()) t.same(ofPair(`sets ${name}`), ofPair(`others ${name}`), 'what all keep under the name is not theirs');
    t.ok(isSameEverywhere(hvd.allreduce(mine, { op: 'sum', compression, name: `sets ${name}` })));
    hvd.barrier();
    hvd.removeProcessSet(pair);
  });

  t.test(`${name}: a regression converges as without, for what was lost comes with a later step`, async (t) => {
    const [ROWS, COLUMNS, STEPS] = [48, 24, 300];
    // What is kept comes in bursts, as large as the rate times what has gathered: small at last.
    const rates = [0.05, 0.005];
    // Each rank sees other rows: their gradients differ, and the common solution is none's alone.
    const wanted = tf.tensor2d(
      Float32Array.from({ length: ROWS * COLUMNS }, (_, i) => Math.sin(i * 1.7)),
      [ROWS, COLUMNS],
    );
    const inputs = tf.tensor2d(
      Float32Array.from({ length: 16 * ROWS }, (_, i) => Math.sin(i * 2.3 + rank * 5.1)),
      [16, ROWS],
    );
    const noise = tf.tensor2d(
      Float32Array.from({ length: ROWS * COLUMNS }, (_, i) => Math.sin(i * 0.9 + rank * 2.1)),
      [ROWS, COLUMNS],
    );
    const solve = (used: hvd.Compressor): Float32Array => {
      const [weight, bias] = [tf.variable(tf.zeros([ROWS, COLUMNS])), tf.variable(tf.zeros([COLUMNS]))];
      const optimizer = hvd.DistributedOptimizer(tf.train.sgd(rates[0]!), { compression: used });
      for (let step = 0; step < rates.length * STEPS; step += 1) {
        optimizer.setLearningRate(rates[Math.floor(step / STEPS)]!);
        optimizer.minimize(
          () => {
            const off = weight.sub(wanted).sub(noise);
            const fit = inputs.matMul(weight.sub(wanted)).add(bias).square().sum().mul(0.0005);
            return off.square().sum().mul(0.5).add(fit).asScalar();
          },
          false,
          [weight, bias],
        );
      }
      const found = Float32Array.from([...weight.dataSync(), ...bias.dataSync()]);
      optimizer.dispose();
      tf.dispose([weight, bias]);
      return found;
    };
    solvedPlainly ??= solve(hvd.Compression.none);
    const [plain, compressed] = [solvedPlainly, solve(compression)];
    t.ok(isSameEverywhere(compressed), 'replicas are equal');
    const off = largestDifference(compressed, plain);
    if (size === 1) t.equal(off, 0, 'one rank: what it is without');
    else t.ok(off < 0.1, `off by ${off}`);
    tf.dispose([wanted, inputs, noise]);
  });

  t.test(`${name}: a network trains, overlapped or not to the same bits`, async (t) => {
    const loss = 'categoricalCrossentropy';
    const trained = async (overlap: boolean): Promise<{ weights: Float32Array; losses: number[] }> => {
      const model = smallNetwork(1);
      model.compile({ optimizer: hvd.DistributedOptimizer(tf.train.sgd(0.1), { compression, overlap }), loss });
      const losses: number[] = [];
      for (let step = 0; step < 60; step += 1) losses.push(await trainStep(model, step * 4 * size + rank * 4, 4));
      return { weights: weightsOf(model), losses };
    };
    const [a, b] = [await trained(true), await trained(false)];
    t.same(a.weights, b.weights);
    t.ok(isSameEverywhere(a.weights), 'replicas are equal');
    t.ok(
      a.losses.slice(-5).every((one) => one < 0.5 * a.losses[0]!),
      `from ${a.losses[0]} to ${a.losses.at(-1)}`,
    );
  });

  t.test(`${name}: what it is not for is refused at the call`, async (t) => {
    const ones = new Float32Array(9).fill(1);
    const refused = (act: () => unknown, message: RegExp): void => void t.throws(act, { code: 'ERR_HVD_USAGE', message });
    refused(() => hvd.allreduce(ones, { compression }), /keeps what it could not send.*Give it a name/);
    for (const op of ['min', 'max', 'product', 'adasum'] as const)
      refused(() => hvd.allreduce(ones, { compression, op, name: 'x' }), /for the ops sum and average of allreduce/);
    refused(
      () => hvd.reducescatter(ones, { compression, op: 'sum', name: 'x' }),
      /for the ops sum and average of allreduce, not for sum of reducescatter/,
    );
    refused(() => hvd.DistributedOptimizer('sgd', { compression, op: 'adasum' }), /adasum/);
    refused(() => hvd.ParameterServerOptimizer(tf.train.sgd(1), { compression }), /parameter servers take gradients by/);
    const x = tf.variable(tf.scalar(1));
    refused(() => hvd.variableGrads(() => x.square(), [x], { compression }), /Give the calls for one loss a name/);
    const { grads } = hvd.variableGrads(() => x.square(), [x], { compression, name: `loss ${name}` });
    t.ok(Math.abs(grads[x.name]!.dataSync()[0]! - 2) < 0.1);
    x.dispose();
    if (size > 1)
      t.throws(
        () => hvd.allreduce(ones, { name: `forms ${name}`, op: 'sum', compression: rank === 0 ? hvd.Compression.none : compression }),
        {
          code: 'ERR_HVD_MISMATCH',
          message: /Mismatched compression.*compression none on rank 0/,
        },
      );
  });
}

t.test('options of compressors are checked where they are given', async (t) => {
  const refused = (act: () => unknown, message: RegExp): void => void t.throws(act, { code: 'ERR_HVD_USAGE', message });
  for (const ratio of [0, -1, 1.1, Number.NaN, '0.1', null])
    refused(() => hvd.Compression.topK({ ratio: ratio as never }), /Compression\.topK: ratio is a number above 0 and up to 1, but was/);
  for (const rank of [0, 1.5, 257, '2'])
    refused(
      () => hvd.Compression.powerSGD({ rank: rank as never }),
      /Compression\.powerSGD: rank is a whole number from 1 to 256, but was/,
    );
  t.same([hvd.Compression.topK().name, hvd.Compression.powerSGD().name], ['topK(0.01)', 'powerSGD(4)']);
  const ones = new Float32Array(9).fill(1);
  for (const compression of [hvd.Compression.topK, { name: 'topK(0.01)' }])
    refused(() => hvd.allreduce(ones, { name: 'x', compression: compression as never }), /one of hvd\.Compression\.none, .*\.topK\(\)/);
  if (size > 1)
    t.throws(() => hvd.allreduce(ones, { name: 'options', op: 'sum', compression: hvd.Compression.topK({ ratio: 0.5 / (rank + 1) }) }), {
      code: 'ERR_HVD_MISMATCH',
      message: /Mismatched compression.*topK\(0\.5\) on rank 0.*topK\(0\.25\) on rank 1/,
    });
});

t.test('a new job begins anew', async (t) => {
  const mine = filled(new Float32Array(1000));
  const reduced = (): Float32Array => hvd.allreduce(mine, { op: 'sum', compression: hvd.Compression.int8, name: 'anew' });
  const [first, second] = [reduced(), reduced()];
  hvd.shutdown();
  hvd.init();
  t.same(reduced(), first);
  if (size > 1) t.notSame(second, first, 'what was kept was sent');
});

t.before(async () => {
  await hvd.selectBackend();
});
