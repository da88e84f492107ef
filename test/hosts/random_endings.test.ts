/**
 * Jobs on two or three hosts, each ended in a way, at a moment and in a place drawn by a seeded generator: the right exit code, the right first cause, nothing left on any host.
 * KHOROVOD_ENDINGS: how many (each once); KHOROVOD_SEED: another row of them. Two hundred take longer than run_tests.mjs gives a file: `TAP_TIMEOUT=0 KHOROVOD_ENDINGS=200 node dist/test/hosts/random_endings.test.js`.
 */
import t from 'tap';
import { type Ending, endBy, endings, PEER_TIMEOUT_S } from '../helpers/endings';
import { TestBed, whyNoBed } from '../helpers/test_bed';
import { worker } from '../helpers/tsrun';

const count = Number(process.env.KHOROVOD_ENDINGS ?? endings.length);
const firstSeed = Number(process.env.KHOROVOD_SEED ?? 20261126);

let seed = firstSeed;
const random = (below: number): number => {
  seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
  return Math.floor((seed / 2 ** 32) * below);
};
const oneOf = <T>(list: readonly T[]): T => list[random(list.length)]!;

/** Every kind comes before one comes again. */
let deck: Ending[] = [];
const nextEnding = (): Ending => {
  if (deck.length === 0) deck = [...endings];
  return deck.splice(random(deck.length), 1)[0]!;
};

const programs = [
  ['reduces_for_ever.js', '@'],
  ['adds_exactly.js', '@'],
  ['holds.js', '@', 'deaf', 'child', 'orphan'],
] as const;

t.test(`${count} endings, drawn from the seed ${firstSeed}`, { skip: whyNoBed ?? false, timeout: 0 }, async (t) => {
  const bed = await TestBed.up(3);
  t.teardown(() => bed.down());
  for (let i = 0; i < count; i += 1) {
    const ending = nextEnding();
    const hosts = oneOf([
      [1, 2],
      [2, 1, 3],
      [0, 1],
      [3, 0, 2],
    ]);
    const np = hosts.length + random(2);
    const [program, ...words] = oneOf(programs);
    const isStarting = !ending.needsRanks && random(4) === 0;
    const delayMs = random(isStarting ? 1500 : 400);
    const host = bed.hosts[oneOf(hosts.filter((number) => number > 0))]!;
    const title = `seed ${firstSeed}, number ${i}: ${ending.name} (${host.name}) ${delayMs} ms after ${isStarting ? 'its start' : 'all were ready'}, -np ${np} on ${bed.list(...hosts)}, ${program}`;
    const limits = ['--peer-timeout', String(PEER_TIMEOUT_S), '--start-timeout', '20'];
    const job = bed.job(['-np', String(np), '-H', bed.list(...hosts), ...limits, worker(program), ...words]);
    try {
      if (!isStarting) await job.files(/^ready-/, np);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      t.same(await endBy(ending, { bed, job, host }, { isStarting }), [], title);
    } catch (error) {
      t.fail(`${title}: ${(error as Error).message}`);
      await bed.leftAfter(0);
    }
  }
});
