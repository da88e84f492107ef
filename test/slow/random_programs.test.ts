/**
 * Three hundred random programs (test/helpers/programs), a hundred each on 2, 3 and 4 ranks: no wrong value, no hang. KHOROVOD_PROGRAMS: how many on each; KHOROVOD_SEED: the first seed.
 * A failure names its seed; `tsrun -np NP dist/test/workers/random_program.js SEED` performs that program alone.
 */
import t from 'tap';
import { drawProgram } from '../helpers/programs/program';
import { Job, worker } from '../helpers/tsrun';

const count = Number(process.env.KHOROVOD_PROGRAMS ?? 100);
const firstSeed = Number(process.env.KHOROVOD_SEED ?? 1000);
/** For one program; they take some tens of milliseconds on a machine that has nothing else to do. */
const MOST_MS_EACH = 3000;
const START_MS = 60_000;

/** As far as a failure tells which it was. */
function programIn(text: string, np: number): string {
  const seed = /seed (\d+) on/.exec(text)?.[1];
  return seed === undefined ? '' : `The program: ${JSON.stringify(drawProgram(Number(seed), np)).slice(0, 20_000)}`;
}

for (const np of [2, 3, 4])
  t.test(`${count} random programs on ${np} ranks, from seed ${firstSeed}`, { timeout: 0 }, async (t) => {
    const job = new Job(['-np', String(np), '--no-prefix', worker('random_program.js'), String(firstSeed), String(count), '@']);
    const status = await job.status(START_MS + count * MOST_MS_EACH);
    const where = Array.from({ length: np }, (_, rank) => placeOf(job, rank));
    const left = await job.leftAfter(status < 0 ? 0 : 5000);
    const text = `${status < 0 ? 'It hangs. ' : ''}${where.join('; ')}\n${job.err.slice(-5000)}`;
    t.equal(status, 0, status === 0 ? 'no rank failed' : `${text}\n${programIn(job.err + where.join(), np)}`);
    t.equal(job.out.match(new RegExp(`^${count} programs right$`, 'gm'))?.length, np, 'every rank has performed all');
    t.same(status < 0 ? [] : left, [], 'nothing is left');
  });

function placeOf(job: Job, rank: number): string {
  try {
    return `rank ${rank} at ${job.read(`at-${rank}`)}`;
  } catch {
    return `rank ${rank} had not begun`;
  }
}
