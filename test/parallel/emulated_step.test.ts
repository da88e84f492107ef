/** Steps whose computation is a wait: what travels is real, and verified by the step itself. */
import t from 'tap';
import { EmulatedTraining, finalTimes } from '../../src/bench/emulated_step';
import * as hvd from '../../src/index';

hvd.init();
const compute = { forwardMs: 4, backwardMs: [1, 5, 2] };
const settings = { sizes: [10, 700_000, 5000], compute, slowDown: 2, rule: { kind: 'sgd' }, learningRate: 0.1 } as const;

t.test('gradients are final from the last variable to the first', async (t) => {
  t.same(finalTimes(compute), [12, 11, 6]);
});

for (const strategy of ['none', 'ring', { kind: 'sync' }, { kind: 'async' }] as const)
  t.test(JSON.stringify(strategy), async (t) => {
    const training = new EmulatedTraining({ ...settings, strategy });
    t.equal(training.bytes, 4 * 705_010);
    for (let step = 0; step < 3; step += 1) {
      const { ms, exposedMs } = training.run();
      t.ok(ms >= 24, `a step of ${ms} ms has waited for its computation`);
      t.ok(exposedMs >= 0 && exposedMs < ms);
    }
  });

t.test('what comes back wrong is an error', { skip: hvd.size() < 2 && 'needs two ranks' }, async (t) => {
  // Servers add up other numbers than this rank believes.
  const rate = hvd.rank() === 1 ? 0.7 : 0.1;
  const training = new EmulatedTraining({ ...settings, learningRate: rate, strategy: { kind: 'sync' } });
  if (rate === 0.7) t.throws(() => training.run(), { message: /but must be -/ });
  else t.doesNotThrow(() => training.run());
});
