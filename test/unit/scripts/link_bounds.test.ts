/** scripts/link_bounds.mjs: what links allow. */
import path from 'node:path';
import t from 'tap';

interface Fit {
  readonly codecMs: number;
  readonly megabits: number;
}
interface LinkBounds {
  allreduceBoundMs(hosts: number, bytes: number, goodput: number): number;
  leastStepMs(sizes: readonly number[], finalMs: readonly number[], times: { computeMs: number; communicationMs: number }): number;
  fitRates(points: ReadonlyArray<{ rate: number; ms: number }>): Fit;
  shorterText(own: Fit, other: Fit): string;
}
const { allreduceBoundMs, leastStepMs, fitRates, shorterText } = require(
  path.join(__dirname, '../../../../scripts/link_bounds.mjs'),
) as LinkBounds;

t.test('an allreduce sends 2(N − 1)/N of the bytes over a link', async (t) => {
  t.equal(allreduceBoundMs(4, 1e6, 125e6), 12);
  t.equal(allreduceBoundMs(2, 1e6, 125e6), 8);
});

t.test('a step ends when computation and all that its gradients let leave have ended', async (t) => {
  // A forward pass of 1 unit, then the last gradient at 2 and the first at 3.
  const [equal, finalMs] = [
    [1, 1],
    [3, 2],
  ];
  t.equal(leastStepMs(equal, finalMs, { computeMs: 300, communicationMs: 0 }), 300, 'no communication');
  t.equal(leastStepMs(equal, finalMs, { computeMs: 0, communicationMs: 300 }), 300, 'no computation');
  t.equal(leastStepMs(equal, finalMs, { computeMs: 300, communicationMs: 300 }), 500, 'nothing leaves before the last gradient is final');
  t.equal(leastStepMs(equal, finalMs, { computeMs: 300, communicationMs: 100 }), 350, 'the first gradient has nothing to hide behind');
  t.equal(leastStepMs([1, 9], finalMs, { computeMs: 300, communicationMs: 100 }), 310, 'what is small at the end costs little');
  t.equal(leastStepMs([0, 1], finalMs, { computeMs: 300, communicationMs: 100 }), 300, 'all is hidden');
});

t.test('codec and bits from times at several rates', async (t) => {
  const exact = fitRates([1, 2.5, 10].map((rate) => ({ rate, ms: 20 + 500 / rate })));
  t.ok(Math.abs(exact.codecMs - 20) < 1e-9, `${exact.codecMs}`);
  t.ok(Math.abs(exact.megabits - 500) < 1e-9, `${exact.megabits}`);
});

t.test('where one is shorter than the other', async (t) => {
  const plain = { codecMs: 10, megabits: 800 };
  t.equal(shorterText({ codecMs: 110, megabits: 200 }, plain), 'below 6.00 Gbit/s');
  t.equal(shorterText({ codecMs: 0, megabits: 1000 }, plain), 'above 20.00 Gbit/s', 'more bits, but less to compute');
  t.equal(shorterText({ codecMs: 5, megabits: 400 }, plain), 'always');
  t.equal(shorterText({ codecMs: 15, megabits: 900 }, plain), 'never');
  t.equal(shorterText({ codecMs: 15, megabits: 800 }, plain), 'never', 'as many bits');
});
