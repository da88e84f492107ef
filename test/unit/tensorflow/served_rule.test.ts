/** What parameter servers take from a tf.Optimizer and give back: the rule, the rate, slots and steps. An optimizer that was given another's state goes on as that one, to the bit. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import { BugError, UsageError } from '../../../src/errors';
import * as hvd from '../../../src/index';
import { slotsOf } from '../../../src/parameter_server/rules';
import { setLearningRate } from '../../../src/tensorflow/optimizer_state';
import { learningRateOf, readSlots, ruleOf, writeSlots } from '../../../src/tensorflow/served_rule';
import { prepareOptimizers } from '../../../src/tensorflow/train';

type NamedTensor = { name: string; tensor: tf.Tensor };

t.before(async () => {
  await tf.setBackend('cpu');
  prepareOptimizers(tf);
});
t.afterEach(() => tf.disposeVariables());

const betas = { beta1: 0.8, beta2: 0.99, epsilon: 1e-3 };
/** Each optimizer with its rule. */
const cases: ReadonlyArray<readonly [rule: Record<string, unknown>, make: () => tf.Optimizer]> = [
  [{ kind: 'sgd' }, () => tf.train.sgd(0.1)],
  [{ kind: 'momentum', momentum: 0.9, nesterov: false }, () => tf.train.momentum(0.1, 0.9)],
  [{ kind: 'momentum', momentum: 0.9, nesterov: true }, () => tf.train.momentum(0.1, 0.9, true)],
  [{ kind: 'rmsprop', decay: 0.8, momentum: 0.5, epsilon: 1e-3, centered: false }, () => tf.train.rmsprop(0.1, 0.8, 0.5, 1e-3)],
  [{ kind: 'rmsprop', decay: 0.8, momentum: 0.5, epsilon: 1e-7, centered: true }, () => tf.train.rmsprop(0.1, 0.8, 0.5, undefined, true)],
  [{ kind: 'adam', ...betas }, () => tf.train.adam(0.1, 0.8, 0.99, 1e-3)],
  [{ kind: 'adagrad', initialAccumulatorValue: 0.2 }, () => tf.train.adagrad(0.1, 0.2)],
  [{ kind: 'adadelta', rho: 0.8, epsilon: 1e-3 }, () => tf.train.adadelta(0.1, 0.8, 1e-3)],
  [{ kind: 'adamax', ...betas, decay: 0.1 }, () => tf.train.adamax(0.1, 0.8, 0.99, 1e-3, 0.1)],
  [{ kind: 'nadam', ...betas }, () => hvd.train.nadam(0.1, 0.8, 0.99, 1e-3)],
  [{ kind: 'adamw', ...betas, weightDecay: 0.1 }, () => hvd.train.adamw(0.1, 0.8, 0.99, 1e-3, 0.1)],
];

/** Two variables of which every gradient has another size and sign. */
function network() {
  const variables: tf.Variable[] = [tf.variable(tf.tensor2d([0.1, -0.4, 2, 0.3, -1, 0.7], [2, 3])), tf.variable(tf.scalar(0.5))];
  const loss = (): tf.Scalar => variables[0]!.sin().mul(variables[1]!).square().sum().add(variables[1]!.cos()) as tf.Scalar;
  const train = (optimizer: tf.Optimizer, steps: number): void => {
    for (let step = 0; step < steps; step += 1) optimizer.minimize(loss, false, variables);
  };
  const values = (): number[] => variables.flatMap((one) => [...one.dataSync()]);
  return { variables, train, values };
}
const weightsOf = async (optimizer: tf.Optimizer): Promise<Array<[string, number[]]>> =>
  ((await optimizer.getWeights()) as NamedTensor[]).map(({ name, tensor }) => [name, [...tensor.dataSync()]]);
const clonesOf = (slots: ReadonlyArray<ReadonlyArray<tf.Tensor | undefined>>): tf.Tensor[][] =>
  slots.map((list) => list.map((slot) => slot!.clone()));

for (const [rule, make] of cases) {
  t.test(`${Object.values(rule).join(' ')}: rule, and state from one optimizer to another`, async (t) => {
    const { variables, train, values } = network();
    const first = make();
    t.same(ruleOf(first), rule);
    t.equal(readSlots(first, variables), undefined, 'nothing yet');
    train(first, 3);

    const { steps, slots } = readSlots(first, variables)!;
    t.equal(steps, 3);
    t.equal(slots.length, slotsOf(ruleOf(first)).length);
    const state = clonesOf(slots);
    const weights = await weightsOf(first);
    const at3 = variables.map((one) => one.clone());
    train(first, 3);
    const expected = values();
    const expectedWeights = await weightsOf(first);

    const again = (): void => {
      for (const [i, variable] of variables.entries()) variable.assign(at3[i]!.clone());
    };
    again();
    const second = make();
    writeSlots(tf, second, variables, steps, state);
    t.ok(
      state.flat().every(({ isDisposed }) => isDisposed),
      'the tensors are the optimizer’s now',
    );
    t.equal(second.iterations, 3);
    t.same(await weightsOf(second), weights);
    train(second, 3);
    t.same(values(), expected, 'the same bits');
    t.same(await weightsOf(second), expectedWeights);

    // Into an optimizer that has stepped, whose slots are overwritten in place; and its own slots, which stay.
    again();
    const third = make();
    writeSlots(tf, third, variables, steps, clonesOf(readSlots(second, variables)!.slots));
    await third.setWeights((await second.getWeights()) as NamedTensor[]);
    t.same(await weightsOf(third), expectedWeights, 'saved and loaded');
    t.equal(readSlots(third, variables)!.steps, 6);
    const before = tf.memory().numTensors;
    writeSlots(tf, third, variables, 6, readSlots(third, variables)!.slots as tf.Tensor[][]);
    writeSlots(tf, third, variables, 6, clonesOf(readSlots(third, variables)!.slots));
    t.equal(tf.memory().numTensors, before, 'nothing is left behind');
    t.same(await weightsOf(third), expectedWeights);
  });
}

t.test('a rate and a momentum that were set are those of the rule', async (t) => {
  for (const [, make] of cases) {
    const optimizer = make();
    t.equal(learningRateOf(optimizer), 0.1);
    setLearningRate(optimizer, 0.03);
    t.equal(learningRateOf(optimizer), 0.03);
  }
  const momentum = tf.train.momentum(0.1, 0.9);
  momentum.setMomentum(0.5);
  t.same(ruleOf(momentum), { kind: 'momentum', momentum: 0.5, nesterov: false });
});

t.test('variables that had no gradient yet have no slot, or one as it begins', async (t) => {
  const [x, idle] = [tf.variable(tf.scalar(1)), tf.variable(tf.tensor1d([1, 2]))];
  const adam = tf.train.adam(0.1);
  adam.minimize(() => x.square() as tf.Scalar, false, [x]);
  const held = readSlots(adam, [x, idle])!;
  t.same(
    held.slots.map((list) => list.map((slot) => slot?.shape)),
    [
      [[], undefined],
      [[], undefined],
    ],
  );
  const nadam = hvd.train.nadam(0.1);
  nadam.minimize(() => x.square() as tf.Scalar, false, [x]);
  t.same(
    readSlots(nadam, [idle, x])!.slots.map((list) => list.map((slot) => slot?.shape)),
    [
      [undefined, []],
      [undefined, []],
    ],
    'those of hvd.train belong to a variable, wherever it stands',
  );
});

t.test('a model saves with slots that were put in', async (t) => {
  const model = tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [2] })] });
  const adam = tf.train.adam(0.1);
  model.compile({ optimizer: adam, loss: 'meanSquaredError' });
  const variables = model.trainableWeights.map((weight) => weight.read() as tf.Variable);
  const filled = (value: number): tf.Tensor[] => variables.map(({ shape }) => tf.fill(shape, value));
  writeSlots(tf, adam, variables, 9, [filled(0.25), filled(0.5)]);
  let names: string[] = [];
  await model.save(
    tf.io.withSaveHandler(async ({ weightSpecs }) => {
      names = weightSpecs!.map(({ name }) => name);
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
    }),
    { includeOptimizer: true },
  );
  const [kernel, bias] = variables.map(({ name }) => name);
  t.same(names.slice(2), ['iter', `${kernel}/m`, `${bias}/m`, `${kernel}/v`, `${bias}/v`]);
  await model.trainOnBatch(tf.ones([3, 2]), tf.ones([3, 1]));
  t.equal(adam.iterations, 10);
});

t.test('what servers do not know is refused', async (t) => {
  class Mine extends tf.AdamOptimizer {}
  class Strange extends tf.SGDOptimizer {
    static override get className(): string {
      return 'constructor';
    }
  }
  const [x, y] = [tf.variable(tf.scalar(1)), tf.variable(tf.tensor1d([1, 2]))];
  t.throws(() => ruleOf(hvd.train.lars(0.1)), { name: 'UsageError', message: /LARS.*SGD, Momentum, RMSProp/ });
  t.throws(() => ruleOf(new Mine(0.1, 0.9, 0.999)), { name: 'UsageError', message: /Mine, a subclass of Adam/ });
  t.throws(() => ruleOf(new Strange(0.1)), UsageError);
  t.throws(() => ruleOf(tf.train.momentum(0.1, Number.NaN)), { name: 'UsageError', message: /Momentum: momentum is NaN/ });
  t.throws(() => readSlots(hvd.train.lamb(), [x]), UsageError);
  t.throws(() => writeSlots(tf, hvd.train.lamb(), [x], 1, []), UsageError);

  const adam = tf.train.adam(0.1);
  adam.minimize(() => x.square() as tf.Scalar, false, [x]);
  t.throws(() => readSlots(adam, [y]), { name: 'UsageError', message: /has stepped with other variables/ });
  t.throws(() => writeSlots(tf, adam, [x], 1, [[x.clone()]]), BugError, 'a kind is missing');
  t.throws(() => writeSlots(tf, adam, [x], 1, [[x.clone()], []]), BugError, 'a variable is missing');
});
