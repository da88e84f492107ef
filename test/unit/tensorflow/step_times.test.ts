import t from 'tap';
import { stepTimes } from '../../../src/tensorflow/step_times';

const step = { begunUs: 1000, computedUs: 11_000, reducedUs: 14_000, appliedUs: 15_000 };

t.test('a bucket is hidden until backpropagation is over; what is under way at once counts once', async (t) => {
  t.same(stepTimes({ ...step, buckets: [] }), { computeMs: 11, exposedMs: 3, hiddenMs: 0 });
  t.same(
    stepTimes({
      ...step,
      buckets: [
        { fromUs: 5000, toUs: 7000 },
        { fromUs: 3000, toUs: 6000 },
        { fromUs: 9000, toUs: 13_000 },
        { fromUs: 11_500, toUs: 14_000 },
      ],
    }),
    { computeMs: 11, exposedMs: 3, hiddenMs: 6 },
  );
});
