import t from 'tap';
import { estimate, ratio, studentT } from '../../../../launcher/sweep/statistics';

/** To five digits. */
const near = (t: Tap, found: number | undefined, expected: number, what: string): void =>
  void t.ok(Math.abs((found ?? Number.NaN) - expected) <= 1e-5 * Math.abs(expected), `${what}: ${found}, expected ${expected}`);
type Tap = typeof t;

t.test('Student’s t, two-sided 95 %, as tables have it', async (t) => {
  const table = [
    [1, 12.706],
    [2, 4.3027],
    [4, 2.7764],
    [9, 2.2622],
    [30, 2.0423],
    [31, 2.0395],
    [60, 2.0003],
    [120, 1.9799],
    [1e9, 1.96],
  ] as const;
  for (const [freedom, expected] of table) t.equal(studentT(freedom).toFixed(3), expected.toFixed(3), `${freedom}`);
  t.equal(studentT(2.6), studentT(2), 'between two rows the wider one');
});

t.test('mean, deviation and interval', async (t) => {
  const found = estimate([2, 4, 4, 4, 5, 5, 7, 9]);
  t.equal(found?.n, 8);
  t.equal(found?.mean, 5);
  near(t as Tap, found?.sd, Math.sqrt(32 / 7), 'sd');
  near(t as Tap, found?.halfWidth, 1.787466, '2.3646 · 2.13809 / √8');
  t.same(estimate([3]), { n: 1, mean: 3 }, 'one sample has no interval');
  t.equal(estimate([]), undefined);
  t.match(estimate([7, 7, 7]), { sd: 0, halfWidth: 0 });
});

t.test('a ratio, both errors propagated', async (t) => {
  const top = estimate([180, 190, 200])!;
  const exact = ratio(top, estimate([100, 100, 100])!, 2);
  t.equal(exact?.mean, 0.95);
  near(t as Tap, exact?.halfWidth, 0.124208, '4.3027 · 10 / 200 / √3');
  const both = ratio(top, estimate([98, 100, 102])!, 2);
  near(t as Tap, both?.halfWidth, 0.132874, '4.3027 · √(0.05² / 3 + 0.019² / 3)');
  t.same(ratio(top, estimate([100])!, 2), { n: 1, mean: 0.95 }, 'no interval without one of both');
  t.equal(ratio(top, estimate([0, 0])!, 2), undefined);
});
