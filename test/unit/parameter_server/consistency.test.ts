/** Who may go on: the rule as a table, and in simulated jobs whose workers take random times. */
import t from 'tap';
import { type Mode, mayBeginNext, modeOfStrategy } from '../../../src/parameter_server/consistency';
import { randomOf } from '../../helpers/random';

const ssp = (staleness: number): Mode => ({ kind: 'ssp', staleness });
const progress = (...finished: Array<number | null>) =>
  finished.map((one, worker) => ({ worker, finished: one ?? 0, isActive: one !== null }));

t.test('after its push of step k a worker goes on when the slowest has finished step k − s', async (t) => {
  for (const [mode, step, finished, mayGoOn] of [
    [{ kind: 'sync' }, 1, [1, 0], false],
    [{ kind: 'sync' }, 1, [1, 1], true],
    [{ kind: 'sync' }, 3, [3, 3, 2], false],
    [{ kind: 'sync' }, 1, [1, null], true],
    [{ kind: 'async' }, 1_000_000, [1_000_000, 0], true],
    [ssp(1), 1, [1, 0], true],
    [ssp(1), 2, [2, 0], false],
    [ssp(1), 2, [2, 1], true],
    [ssp(3), 3, [3, 0, 0], true],
    [ssp(3), 4, [4, 0, 4], false],
    [ssp(3), 4, [4, 1, 1], true],
    [ssp(3), 4, [4, null, 1], true],
    [ssp(3), 9, [9, null, null], true],
    [ssp(3), 9, [], true],
  ] as Array<[Mode, number, Array<number | null>, boolean]>)
    t.equal(
      mayBeginNext(mode, step, progress(...finished)).mayGoOn,
      mayGoOn,
      `${JSON.stringify(mode)}, step ${step}, finished ${finished}`,
    );
});

t.test('it says whom it waits for', async (t) => {
  const { why } = mayBeginNext(ssp(2), 5, progress(5, 1, 3, 2));
  t.equal(why, 'step 6 begins when every worker has finished step 3; still behind: worker 1 (1 finished), 3 (2 finished)');
});

t.test('strategies', async (t) => {
  t.same(modeOfStrategy('ps-sync'), { kind: 'sync' });
  t.same(modeOfStrategy('ps-async'), { kind: 'async' });
  t.same(modeOfStrategy('ps-ssp:0'), { kind: 'sync' });
  t.same(modeOfStrategy('ps-ssp:12'), { kind: 'ssp', staleness: 12 });
  for (const other of ['ring', 'ps-ssp', 'ps-ssp:', 'ps-ssp:-1', 'ps-ssp:1.5', 'PS-SYNC', ''])
    t.equal(modeOfStrategy(other), undefined, other);
});

/** Workers push and wait as the rule says, in a random order; some leave. @returns steps that began */
function simulate(mode: Mode, staleness: number, seed: number, steps: number): { begun: number; broken: string[]; spread: number } {
  const random = randomOf(seed);
  const workers = Array.from({ length: 2 + random.below(6) }, (_, worker) => ({
    worker,
    finished: 0,
    isActive: true,
    step: 1,
    isWaiting: false,
  }));
  const broken: string[] = [];
  let [begun, spread] = [workers.length, 0];
  while (begun < steps) {
    const active = workers.filter(({ isActive }) => isActive);
    const running = active.filter(({ isWaiting }) => !isWaiting);
    if (running.length === 0) {
      broken.push(`all wait: ${JSON.stringify(active)}`);
      break;
    }
    // Some are always slow.
    const one = running.find(({ worker }) => random.chance(0.6 / (worker + 1))) ?? random.oneOf(running);
    one.finished = one.step;
    one.isWaiting = true;
    if (active.length > 2 && random.chance(0.001)) one.isActive = false;
    for (const waiter of workers.filter(({ isWaiting, isActive }) => isWaiting && isActive)) {
      if (!mayBeginNext(mode, waiter.step, workers).mayGoOn) continue;
      waiter.isWaiting = false;
      waiter.step += 1;
      begun += 1;
      const slowest = Math.min(...workers.filter(({ isActive }) => isActive).map(({ finished }) => finished));
      spread = Math.max(spread, waiter.step - 1 - slowest);
      if (slowest < waiter.step - 1 - staleness)
        broken.push(`worker ${waiter.worker} began step ${waiter.step} when the slowest had finished ${slowest}`);
    }
  }
  return { begun, broken, spread };
}

t.test('the bound holds in 10,000 simulated steps of each mode, is used, and nobody waits for ever', async (t) => {
  for (const [mode, staleness] of [
    [{ kind: 'sync' }, 0],
    [ssp(1), 1],
    [ssp(3), 3],
    [ssp(10), 10],
    [{ kind: 'async' }, Number.POSITIVE_INFINITY],
  ] as Array<[Mode, number]>) {
    let widest = 0;
    for (let seed = 1; seed <= 5; seed += 1) {
      const { begun, broken, spread } = simulate(mode, staleness, seed, 10_000);
      t.same(broken.slice(0, 3), [], `${JSON.stringify(mode)}, seed ${seed}`);
      t.ok(begun >= 10_000);
      widest = Math.max(widest, spread);
    }
    if (Number.isFinite(staleness)) t.equal(widest, staleness, `${JSON.stringify(mode)}: somebody was as far ahead as allowed`);
    else t.ok(widest > 10, `asynchronous: ${widest} steps ahead`);
  }
});
