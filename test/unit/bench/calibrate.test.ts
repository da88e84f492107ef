/** What is made of measured times. */
import t from 'tap';
import { fitLine, linkOf, pairsOf } from '../../../src/bench/calibrate';

const near = (found: number, expected: number): boolean => Math.abs(found / expected - 1) < 1e-6;

t.test('a line through times, as near to small ones as to large ones', async (t) => {
  const exact = [1e3, 1e5, 1e7].map((bytes) => ({ bytes, seconds: 5e-5 + bytes * 2e-10 }));
  const { latency, perByte } = fitLine(exact);
  t.ok(near(latency, 5e-5) && near(perByte, 2e-10));
  // A hundredth more at the largest size is as much as 400 times the latency there is.
  const noisy = fitLine([...exact, { bytes: 1e8, seconds: 1.01 * (5e-5 + 1e8 * 2e-10) }]);
  t.ok(Math.abs(noisy.latency / 5e-5 - 1) < 0.01, `${noisy.latency}`);
});

t.test('negotiation and reduction are taken off; nothing becomes less than can be told from none', async (t) => {
  const points = [1e4, 1e6].map((bytes) => ({ bytes, seconds: 3e-4 + bytes * 3e-10 }));
  const link = linkOf(points, 2.4e-4, 1e-10);
  t.ok(near(link.latencySeconds, 6e-5) && near(link.secondsPerByte, 2e-10), JSON.stringify(link));
  t.same(linkOf(points, 1, 1), { latencySeconds: 1e-7, secondsPerByte: 1e-12 });
});

t.test('two ranks that share a host, and two that do not, as far as there are any', async (t) => {
  t.same(pairsOf(['a', 'a']), { local: [0, 1], remote: undefined });
  t.same(pairsOf(['a', 'b', 'b']), { local: [1, 2], remote: [0, 1] });
  t.same(pairsOf(['a', 'b']), { local: undefined, remote: [0, 1] });
  t.same(pairsOf(['a']), { local: undefined, remote: undefined });
});
