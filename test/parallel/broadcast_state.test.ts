/** broadcastOptimizerState and broadcastVariables on every rank: all optimizers, whoever has state, on a process set, and ranks that differ. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const root = size - 1;
const several = size > 1 ? {} : { skip: 'one rank has nobody to differ from' };

t.before(async () => {
  await hvd.selectBackend();
});
t.beforeEach(() => tf.engine().startScope());
t.afterEach(() => {
  tf.engine().endScope();
  tf.disposeVariables();
});

type Make = (scale: number) => tf.Optimizer;
/** `scale` changes the hyper-parameters. */
const optimizers: Record<string, Make> = {
  SGD: (scale) => tf.train.sgd(0.1 * scale),
  Momentum: (scale) => tf.train.momentum(0.1 * scale, 0.5 * scale, scale !== 1),
  RMSProp: (scale) => tf.train.rmsprop(0.01 * scale, 0.9 * scale, 0.1 * scale),
  'centered RMSProp': (scale) => tf.train.rmsprop(0.01 * scale, 0.9 * scale, 0.1, 1e-7, true),
  Adam: (scale) => tf.train.adam(0.01 * scale, 0.9 * scale),
  Adamax: (scale) => tf.train.adamax(0.01 * scale, 0.9, 0.999 * scale, 1e-7, 0.1),
  Adagrad: (scale) => tf.train.adagrad(0.1 * scale),
  Adadelta: (scale) => tf.train.adadelta(0.1 * scale, 0.9 * scale),
  Nadam: (scale) => hvd.train.nadam(0.01 * scale),
  AdamW: (scale) => hvd.train.adamw(0.01 * scale, 0.9, 0.999, 1e-7, 0.01 * scale),
  LARS: (scale) => hvd.train.lars(1 * scale),
  LAMB: (scale) => hvd.train.lamb(0.01 * scale),
};

let made = 0;
/** Names of their own on every rank, as after loading a model beside another. */
function variables(): tf.Variable[] {
  made += 1;
  return [[1, 2, 3], [4]].map((values, i) => tf.variable(tf.tensor1d(values), true, `v${made}.${i}.${rank % 2}`));
}
const step = (optimizer: tf.Optimizer, list: tf.Variable[], factor: number): void =>
  void optimizer.minimize(() => tf.addN(list.map((one) => one.square().mul(factor).sum())) as tf.Scalar, false, list);

/** Every rank's numbers are this rank's. */
function areEqualEverywhere(values: number[]): boolean {
  const all = hvd.allgather(Float64Array.from(values));
  return all.length === values.length * size && all.every((value, i) => Object.is(value, values[i % values.length]));
}

for (const [name, make] of Object.entries(optimizers)) {
  for (const isWrapped of [false, true]) {
    t.test(`${name}, ${isWrapped ? 'wrapped' : 'bare'}: ranks with more steps, fewer and none go on as the root does`, async (t) => {
      for (const stepsOf of [(r: number) => (r === root ? 3 : 0), (r: number) => (r === root ? 0 : 3), (r: number) => r + 1]) {
        const inner = make(rank === root ? 1 : 0.5);
        const list = variables();
        // Before it is wrapped: each rank by itself.
        for (let i = 0; i < stepsOf(rank); i += 1) step(inner, list, rank + 1);
        const optimizer = isWrapped ? hvd.DistributedOptimizer(inner) : inner;
        const before = tf.memory().numTensors;
        await hvd.broadcastOptimizerState(optimizer, root);
        hvd.broadcastVariables(list, root);
        t.equal(optimizer.iterations, stepsOf(root));
        t.ok(areEqualEverywhere(Object.values(inner.getConfig()).map(Number)), 'hyper-parameters');
        if (stepsOf(rank) > 0 && stepsOf(root) > 0) t.equal(tf.memory().numTensors, before, 'no tensor is left');
        for (let i = 0; i < 3; i += 1) step(optimizer, list, 0.3);
        t.equal(inner.iterations, stepsOf(root) + 3);
        t.ok(areEqualEverywhere(list.flatMap((one) => [...one.dataSync()])), 'variables, to the bit');
        if (name === 'Momentum') t.same((inner as unknown as { m: tf.Tensor }).m.dataSync(), [0.5], 'computed with');
      }
    });
  }
}

t.test('slots of which the ranks know the variables alike stay with them', several, async (t) => {
  const [a, b] = ['a', 'b'].map((name) => tf.variable(tf.tensor1d([1, 2]), true, `same.${name}`)) as [tf.Variable, tf.Variable];
  const optimizer = hvd.train.adamw(0.01);
  const order = rank === root ? [a, b] : [b, a];
  for (const one of order) step(optimizer, [one], one === a ? 1 : 100);
  await hvd.broadcastOptimizerState(optimizer, root);
  hvd.broadcastVariables([a, b], root);
  step(optimizer, [a], 1);
  step(optimizer, [b], 1);
  t.ok(areEqualEverywhere([...a.dataSync(), ...b.dataSync()]));
});

/** Keeps what it needs where nobody finds it. */
class Elsewhere extends tf.Optimizer {
  #state: tf.Tensor[] = [];
  static get className(): string {
    return 'Elsewhere';
  }
  override applyGradients(): void {
    this.#state.push(tf.keep(tf.tensor1d([this.#state.length, rank])));
    this.incrementIterations();
  }
  override async getWeights() {
    return [await this.saveIterations(), ...this.#state.map((tensor, i) => ({ name: `s${i}`, tensor }))];
  }
  override async setWeights(weights: Array<{ name: string; tensor: tf.Tensor }>) {
    tf.dispose(this.#state);
    this.#state = (await this.extractIterations(weights)).map(({ tensor }) => tf.keep(tensor.clone()));
  }
  getConfig() {
    return {};
  }
}

t.test('an optimizer of others: by getWeights and setWeights; what the root lacks is not taken away', async (t) => {
  const optimizer = new Elsewhere();
  for (let i = 0; i <= rank; i += 1) optimizer.applyGradients();
  await hvd.broadcastOptimizerState(optimizer, root);
  const [count, ...state] = await optimizer.getWeights();
  t.same([...count!.tensor.dataSync()], [size]);
  t.same(
    state.map(({ tensor }) => [...tensor.dataSync()]),
    Array.from({ length: size }, (_, i) => [i, root]),
  );
  const partly = new Elsewhere();
  if (rank !== 0) partly.applyGradients();
  if (size === 1) await hvd.broadcastOptimizerState(partly, 0);
  else await t.rejects(hvd.broadcastOptimizerState(partly, 0), { code: 'ERR_HVD_MISMATCH', message: /rank 1 keeps state/ });
});

t.test('ranks that differ are told so, and go on', several, async (t) => {
  const optimizer = rank === 0 ? tf.train.adam(0.1) : tf.train.sgd(0.1);
  await t.rejects(hvd.broadcastOptimizerState(optimizer), {
    code: 'ERR_HVD_MISMATCH',
    message: /Adam on rank 0, but rank 1 has SGD/,
  });
  const layers = [tf.layers.dense({ units: 2, inputShape: [3] }), tf.layers.dense({ units: 1 })];
  const model = tf.sequential({ layers: rank === 0 ? layers : layers.slice(0, 1) });
  t.throws(() => hvd.broadcastVariables(model), { code: 'ERR_HVD_MISMATCH', message: /rank 0 has 4 variables, rank 1 has 2\. / });
  const other = tf.variable(tf.zeros([rank === root ? 2 : 3]));
  t.throws(() => hvd.broadcastVariables([other]), {
    code: 'ERR_HVD_MISMATCH',
    message: new RegExp(`variable 0 is float32 \\[${root === 0 ? 2 : 3}\\] on rank 0, float32 \\[2\\] on rank ${root}`),
  });
  t.same(hvd.allreduce(Float32Array.of(1), { op: 'sum' })[0], size);
});

t.test('on a process set: its members alone', several, async (t) => {
  const members = size === 2 ? [1] : [1, size - 1];
  const set = hvd.addProcessSet(members);
  const optimizer = tf.train.adam(0.01 * (rank + 1));
  const x = tf.variable(tf.scalar(rank));
  if (set.included()) {
    await hvd.broadcastOptimizerState(optimizer, 1, { processSet: set });
    hvd.broadcastVariables([x], 1, { processSet: set });
    t.throws(() => hvd.broadcastVariables([x], 0, { processSet: set }), { code: 'ERR_HVD_USAGE', message: /one of 1/ });
  } else {
    await t.rejects(hvd.broadcastOptimizerState(optimizer, 1, { processSet: set }), { code: 'ERR_HVD_PROCESS_SET' });
    t.throws(() => hvd.broadcastVariables([x], 1, { processSet: set }), { code: 'ERR_HVD_PROCESS_SET' });
  }
  t.equal((optimizer as unknown as { learningRate: number }).learningRate, 0.01 * (set.included() ? 2 : rank + 1));
  t.same([...x.dataSync()], [set.included() ? 1 : rank]);
  hvd.removeProcessSet(set);
});

t.test('what is wrong is said at the call', async (t) => {
  await t.rejects(hvd.broadcastOptimizerState(null as never), { code: 'ERR_HVD_USAGE', message: /takes a tf.Optimizer/ });
  await t.rejects(hvd.broadcastOptimizerState(tf.train.sgd(1), size), { code: 'ERR_HVD_USAGE', message: /rootRank/ });
  await t.rejects(hvd.broadcastOptimizerState(tf.train.sgd(1), 0, { set: 1 } as never), {
    code: 'ERR_HVD_USAGE',
    message: /no option 'set'/,
  });
  t.throws(() => hvd.broadcastVariables([], 0.5), { code: 'ERR_HVD_USAGE', message: /rootRank/ });
});
