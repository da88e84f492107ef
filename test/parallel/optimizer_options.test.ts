/** DistributedOptimizer on every rank with the options that change what is reduced together: process sets, groups, Adasum. Each rank checks against numbers that it computes by itself. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const several = size > 1 ? {} : { skip: 'one rank has nobody to differ from' };

t.before(async () => {
  await hvd.selectBackend();
});
t.beforeEach(() => tf.engine().startScope());
t.afterEach(() => {
  tf.engine().endScope();
  tf.disposeVariables();
});

const variable = (name: string, values: number[] = [1, 2]): tf.Variable => tf.variable(tf.tensor1d(values), true, name);
const read = (one: tf.Tensor): number[] => [...one.dataSync()];
const isClose = (found: number[], expected: number[]): boolean =>
  found.length === expected.length && found.every((x, i) => Math.abs(x - expected[i]!) < 1e-5);
const times = (one: tf.Variable, factor: number): tf.Scalar => one.mul(factor).sum() as tf.Scalar;
const sgd = (options?: hvd.DistributedOptimizerOptions): tf.Optimizer => hvd.DistributedOptimizer(tf.train.sgd(1), options);

t.test('a process set: its members average among themselves, the others have the plain optimizer', several, async (t) => {
  const members = size === 2 ? [1] : [0, size - 1];
  const set = hvd.addProcessSet(members);
  const [a, b] = [variable('a'), variable('b')];
  const optimizer = sgd({ processSet: set, backwardPassesPerStep: 2 });
  const isMember = members.includes(rank);
  const step = isMember ? members.reduce((sum, r) => sum + r, 0) / members.length : rank;
  optimizer.minimize(() => times(a, rank), false, [a]);
  t.same(read(a), isMember ? [1, 2] : [1 - rank, 2 - rank], 'nothing is added up outside');
  optimizer.minimize(() => times(a, rank), false, [a]);
  t.ok(isClose(read(a), [1 - 2 * step, 2 - 2 * step]), 'from a list');
  const named = sgd({ processSet: set });
  named.minimize(() => times(b, rank));
  t.ok(isClose(read(b), [1 - step, 2 - step]), 'by name');
  // Members whose branches differ agree among themselves.
  if (isMember && members.length > 1) {
    const late = variable('late');
    named.minimize(() => (rank === 0 ? times(late, 1) : times(b, 0)));
    t.ok(isClose(read(late), [0.5, 1.5]), 'a new one');
    const own = rank === 0 ? variable('one') : variable('two', [1]);
    t.throws(() => tf.tidy(() => void named.minimize(() => times(own, 1))), {
      code: 'ERR_HVD_MISMATCH',
      message: new RegExp(`rank (0|${size - 1}) has no trainable variable`),
    });
  }
  optimizer.dispose();
  named.dispose();
  hvd.removeProcessSet(set);
  t.throws(() => optimizer.applyGradients({ a: tf.zeros([2]) }), { code: 'ERR_HVD_PROCESS_SET', message: /not registered/ });
  t.throws(() => sgd({ processSet: set }), { code: 'ERR_HVD_PROCESS_SET', message: /DistributedOptimizer: .*addProcessSet on every rank/ });
});

t.test('groups, by number and as lists of variables and of weights, change nothing but what travels together', async (t) => {
  const model = tf.sequential({ layers: [tf.layers.dense({ units: 2, inputShape: [2] }), tf.layers.dense({ units: 1 })] });
  const weights = model.trainableWeights as unknown as hvd.LayerVariable[];
  const variables = weights.map((one) => one.read() as tf.Variable);
  const start = variables.map(read);
  const step = (size - 1) / 2;
  const choices: Array<hvd.DistributedOptimizerOptions['groups']> = [1, 3, 99, [variables.slice(1, 3)], [[weights[3]!, weights[0]!], []]];
  for (const groups of choices) {
    const [listed, named] = [sgd({ groups }), sgd({ groups })];
    const loss = (): tf.Scalar => tf.addN(variables.map((one) => times(one, rank))) as tf.Scalar;
    listed.minimize(loss, false, variables);
    named.minimize(loss);
    for (const [i, one] of variables.entries()) {
      const reached = read(one);
      t.ok(
        reached.every((x, j) => Math.abs(x - (start[i]![j]! - 2 * step)) < 1e-5),
        `variable ${i} of ${JSON.stringify(groups)?.slice(0, 20)}`,
      );
      tf.tidy(() => one.assign(tf.tensor(start[i]!, one.shape)));
    }
    listed.dispose();
    named.dispose();
  }
});

t.test('ranks whose groups differ, though in no shape, get a MismatchError', several, async (t) => {
  const [a, b, c] = [variable('a'), variable('b'), variable('c')];
  const loss = (): tf.Scalar => tf.addN([times(a, 1), times(b, 1), times(c, 1)]) as tf.Scalar;
  const differing = sgd({ groups: [rank === 0 ? [a, b] : [a, c]] });
  t.throws(() => tf.tidy(() => void differing.minimize(loss, false, [a, b, c])), { code: 'ERR_HVD_MISMATCH', message: /which variables/ });
  const numbered = sgd({ groups: rank === 0 ? 1 : 2 });
  t.throws(() => tf.tidy(() => void numbered.minimize(loss, false, [a, b, c])), { code: 'ERR_HVD_MISMATCH' });
  t.same([a, b, c].map(read), [
    [1, 2],
    [1, 2],
    [1, 2],
  ]);
});

t.test('wrong groups and process sets are said at the call', async (t) => {
  const a = variable('a');
  const wrong = (options: object, message: RegExp): void => void t.throws(() => sgd(options), { code: 'ERR_HVD_USAGE', message });
  for (const groups of [0, 1.5, Number.NaN]) wrong({ groups }, /groups is a whole number >= 1/);
  wrong({ groups: [a] }, /list of lists/);
  wrong({ groups: [[a], [a]] }, /'a' is in list 0 and again in list 1/);
  wrong({ groups: [[a, a]] }, /'a' is in list 0 and again in list 0/);
  wrong({ groups: [['a']] }, /list 0 is something that is neither/);
  const gone = variable('gone');
  gone.dispose();
  wrong({ groups: [[a], [gone]] }, /list 1 is the variable 'gone'/);
  wrong({ processSet: [0] }, /processSet is a ProcessSet, but was object/);
  wrong({ processSet: null }, /null/);
  t.throws(() => sgd({ processSet: new hvd.ProcessSet([0]) }), { code: 'ERR_HVD_PROCESS_SET' });
});

t.test('adasum takes each variable by itself: to the bit what allreduce gives', async (t) => {
  const gradients = [
    [1, rank, 0],
    [3, 4],
    [rank === 0 ? 1 : 0, rank === 0 ? 0 : 1],
  ];
  for (const groups of [undefined, 2] as const) {
    const variables = gradients.map((values, i) => variable(`v${i}${groups}`, new Array(values.length).fill(0)));
    const optimizer = sgd({ op: hvd.Adasum, groups });
    const idle = variable(`idle${groups}`);
    optimizer.applyGradients([
      ...variables.map(({ name }, i) => ({ name, tensor: tf.tensor1d(gradients[i]!) })),
      // Without gradient on rank 0: as zeros, so that the sum is what the others agree on.
      { name: idle.name, tensor: (rank === 0 ? null : tf.tensor1d([1, 1])) as tf.Tensor },
    ]);
    for (const [i, values] of gradients.entries()) {
      const expected = hvd.allreduce(Float32Array.from(values), { op: hvd.Adasum });
      t.same(
        read(variables[i]!),
        [...expected].map((x) => 0 - x),
        `variable ${i}`,
      );
    }
    const joint = [...hvd.allreduce(Float32Array.from(rank === 0 ? [0, 0] : [1, 1]), { op: hvd.Adasum })];
    t.same(read(idle), [1 - joint[0]!, 2 - joint[1]!], 'as zeros');
    // Nobody has one: left alone, though every flag is reduced.
    optimizer.applyGradients([{ name: variables[0]!.name, tensor: null as never }]);
    optimizer.dispose();
  }
  const named = sgd({ op: 'adasum' });
  const x = variable('x');
  named.minimize(() => times(x, 2));
  t.same(read(x), [-1, 0], 'equal gradients stay as they are');
});

t.test('adasum is not compressed, and takes sums', async (t) => {
  const wrong = (options: object, message: RegExp): void => void t.throws(() => sgd(options), { code: 'ERR_HVD_USAGE', message });
  wrong({ op: 'adasum', compression: hvd.Compression.fp16 }, /adasum is not compressed/);
  wrong({ op: 'adasum', averageAggregatedGradients: true }, /sums of the passes/);
  wrong({ op: 'adasum', gradientPredivideFactor: 2 }, /needs the op 'average'/);
});
