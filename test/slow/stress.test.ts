/**
 * Random collectives of up to 64 MiB over shared memory and over sockets, in between ranks that are killed: no wrong element, no hang, nothing left. KHOROVOD_STRESS: how many collectives in all (default 900);
 * KHOROVOD_SEED: the first seed. `tsrun -np NP --transport T dist/test/workers/stress_collectives.js SEED COUNT` performs one row alone.
 */
import { readdirSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import { randomOf } from '../helpers/random';
import { Job, worker } from '../helpers/tsrun';

const total = Number(process.env.KHOROVOD_STRESS ?? 900);
const firstSeed = Number(process.env.KHOROVOD_SEED ?? 7000);
const MOST_BYTES = 64 << 20;
const rows = ['shm', 'unix', 'tcp'].flatMap((transport) => [2, 3, 4].map((np) => ({ transport, np })));
/** A collective of 64 MiB and its check take a second on a busy machine. */
const MOST_MS_EACH = 10_000;
const START_MS = 60_000;

const shared = (): string[] => {
  try {
    return readdirSync('/dev/shm').sort();
  } catch {
    return [];
  }
};
const before = shared();

for (const [i, { transport, np }] of rows.entries()) {
  const count = Math.ceil(total / rows.length);
  const words = (seed: number, often: number): string[] => [
    ...['-np', String(np), '--transport', transport, '--no-prefix', worker('stress_collectives.js')],
    ...[String(seed), String(often), String(MOST_BYTES), '@'],
  ];

  t.test(`${count} collectives on ${np} ranks, ${transport}`, { timeout: 0 }, async (t) => {
    const job = new Job(words(firstSeed + i, count));
    const status = await job.status(START_MS + count * MOST_MS_EACH);
    const left = await job.leftAfter();
    t.equal(status, 0, status === 0 ? 'no rank failed' : job.err.slice(-5000));
    t.equal(job.out.match(new RegExp(`^${count} collectives right`, 'gm'))?.length, np, 'on every rank');
    t.same(left, [], 'nothing is left');
  });

  t.test(`a rank of ${np} is killed in the middle, ${transport}`, { timeout: 0 }, async (t) => {
    const random = randomOf(firstSeed + i);
    const job = new Job(words(firstSeed + i, 1_000_000));
    await job.files(/^begun-/, np, START_MS);
    await setTimeout(random.below(1500));
    const pids = job.processes().filter(({ command }) => command.includes('stress_collectives') && !command.includes('launcher/tsrun'));
    process.kill(random.oneOf(pids).pid, 'SIGKILL');
    const status = await job.status(START_MS);
    t.equal(status, 137, job.err.slice(-2000));
    t.notMatch(job.err, /instead of/, 'no wrong element on the others');
    t.same(await job.leftAfter(), [], 'no process is left');
  });
}

t.test('nothing is left in /dev/shm', async (t) => {
  t.same(shared(), before);
});
