/** Who is told what about calls that some ranks never submit, and when. */
import t from 'tap';
import type { WaitingCall } from '../../../src/engine/negotiate';
import { Negotiator } from '../../../src/engine/negotiate';
import { StallInspector } from '../../../src/engine/stall';
import { call, hostOf } from './calls';

const everyone = [0, 1, 2, 3];
const waiting = (name: string, sinceMs: number, missing: number[]): WaitingCall => ({
  call: call(name),
  sinceMs,
  missing: () => missing,
  submitted: () => everyone.filter((rank) => !missing.includes(rank)),
});

t.test('while nothing waits longer than the time to warn, nothing is said', async (t) => {
  const inspector = new StallInspector({ warnAfterMs: 60_000, failAfterMs: 0 });
  t.same(inspector.inspect([], 1e6, hostOf), { warnings: [], failures: [] });
  t.same(inspector.inspect([waiting('a', 1000, [1])], 60_999, hostOf), { warnings: [], failures: [] });
});

t.test('a warning names the missing ranks, their hosts, what they did not submit, who did and what to do', async (t) => {
  const inspector = new StallInspector({ warnAfterMs: 60_000, failAfterMs: 0 });
  const { warnings, failures } = inspector.inspect([waiting('grad', 1000, [1, 2])], 62_500, hostOf);
  t.same(failures, []);
  t.equal(warnings.length, 1);
  t.match(warnings[0], /^Stalled: rank 1 and 2 \(host a and b\) did not submit 'grad' \(allreduce\), which rank 0 and 3 \(host a and b\) /);
  t.match(warnings[0], /submitted up to 61\.5 s ago\. Let every rank/);
});

t.test('there is one warning for each set of missing ranks, with at most six names', async (t) => {
  const inspector = new StallInspector({ warnAfterMs: 1000, failAfterMs: 0 });
  const many = Array.from({ length: 9 }, (_, i) => waiting(`n${i}`, i, [3]));
  const { warnings } = inspector.inspect([waiting('x', 0, [1]), ...many], 5000, hostOf);
  t.equal(warnings.length, 2);
  t.match(warnings[0], /rank 1 \(host a\) did not submit 'x'/);
  t.match(warnings[1], /rank 3 .*'n0'.*'n5' \(allreduce\) and 3 more,/);
  t.notMatch(warnings[1], /n6/);
});

t.test('a warning is said again after the time to warn, or at once when it changes', async (t) => {
  const inspector = new StallInspector({ warnAfterMs: 10_000, failAfterMs: 0 });
  const said = (list: WaitingCall[], nowMs: number): number => inspector.inspect(list, nowMs, hostOf).warnings.length;
  const a = waiting('a', 0, [1, 2]);
  t.equal(said([a], 10_000), 1);
  t.equal(said([a], 10_500), 0);
  t.equal(said([a], 19_999), 0);
  t.equal(said([a], 20_000), 1, 'as long again');
  t.equal(said([waiting('a', 0, [2])], 20_500), 1, 'rank 1 has submitted it');
  t.equal(said([waiting('a', 0, [2]), waiting('b', 500, [2])], 21_000), 1, 'another call stalls too');
  t.equal(said([waiting('a', 0, [2]), waiting('b', 500, [2]), waiting('c', 20_000, [2])], 21_500), 0, 'c is young');
  t.equal(said([], 22_000), 0);
  t.equal(said([waiting('a', 0, [2])], 22_500), 1, 'it was over, and comes again');
});

t.test('a growing number of names beyond those shown is no news', async (t) => {
  const inspector = new StallInspector({ warnAfterMs: 10_000, failAfterMs: 0 });
  const list = (length: number): WaitingCall[] => Array.from({ length }, (_, i) => waiting(`n${i}`, 0, [1]));
  t.equal(inspector.inspect(list(7), 10_000, hostOf).warnings.length, 1);
  t.equal(inspector.inspect(list(8), 10_500, hostOf).warnings.length, 0);
});

t.test('with a time to warn of 0 a warning is said at once, but not in every beat', async (t) => {
  const inspector = new StallInspector({ warnAfterMs: 0, failAfterMs: 0 });
  t.equal(inspector.inspect([waiting('a', 100, [1])], 100, hostOf).warnings.length, 1);
  t.equal(inspector.inspect([waiting('a', 100, [1])], 600, hostOf).warnings.length, 0);
  t.equal(inspector.inspect([waiting('a', 100, [1])], 1100, hostOf).warnings.length, 1);
});

t.test('after the time to fail the job ends with an error that says who, what, how long and what to do', async (t) => {
  const inspector = new StallInspector({ warnAfterMs: 1000, failAfterMs: 30_000 });
  t.same(inspector.inspect([waiting('grad', 0, [2])], 29_999, hostOf).failures, []);
  const [failure] = inspector.inspect([waiting('grad', 0, [2])], 30_000, hostOf).failures;
  t.match(failure, { code: 'ERR_HVD_STALL', peer: 2, host: 'b', tensor: 'grad' });
  t.match(failure!.message, /rank 2 \(host b\) did not submit 'grad' \(allreduce\), which rank 0, 1 and 3 .* 30\.0 s ago/);
  t.match(failure!.message, /Let every rank.*HOROVOD_STALL_SHUTDOWN_TIME_SECONDS \(now 30/);
});

t.test('a time to fail that is shorter than the time to warn counts all the same', async (t) => {
  const inspector = new StallInspector({ warnAfterMs: 60_000, failAfterMs: 5000 });
  const { warnings, failures } = inspector.inspect([waiting('a', 0, [1])], 5000, hostOf);
  t.same(warnings, []);
  t.equal(failures.length, 1);
});

t.test('the oldest stall comes first among the failures', async (t) => {
  const inspector = new StallInspector({ warnAfterMs: 1, failAfterMs: 10 });
  const { failures } = inspector.inspect([waiting('old', 0, [3]), waiting('new', 5, [1]), waiting('old too', 6, [3])], 100, hostOf);
  t.same(
    failures.map(({ peer }) => peer),
    [3, 1],
  );
});

t.test('a call that is submitted by its cached id stalls as visibly as one in full', async (t) => {
  const negotiator = new Negotiator({ size: everyone.length, hostOf, cacheCapacity: 8, fusionThresholdBytes: 0 });
  for (const rank of everyone) negotiator.add(rank, { full: [call('a')], cached: [] }, 0);
  const [id] = negotiator.take().responses[0]!.cacheAs;
  for (const rank of [0, 1, 3]) negotiator.add(rank, { full: [], cached: [id!] }, 1000 + rank);
  const { warnings } = new StallInspector({ warnAfterMs: 500, failAfterMs: 0 }).inspect(negotiator.waiting(), 1600, hostOf);
  t.match(warnings, [/rank 2 \(host b\) did not submit 'a' .*rank 0, 1 and 3 .*0\.6 s ago/]);
});
