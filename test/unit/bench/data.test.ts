/** Data workers: the same batches with any number of them, a ring that waits, typed ends; images cropped, resized, mirrored and normalised; and memory that is asked for before anything starts. */
import { createHash } from 'node:crypto';
import t, { type Test } from 'tap';
import { DataError } from '../../../src/bench/data/data_error';
import { CHANNELS, fitFor, placeImage, STORED_ELEMS, STORED_SIZE } from '../../../src/bench/data/image';
import { checkMemory, planMemory } from '../../../src/bench/data/memory';
import { Pipeline, type PipelineOptions } from '../../../src/bench/data/pipeline';
import { mixed, permutation, Random } from '../../../src/bench/data/random';
import { SyntheticImages } from '../../../src/bench/data/synthetic';
import { UsageError } from '../../../src/errors';

const synthetic = { kind: 'synthetic', seed: 1, rank: 0, classes: 10 } as const;
const opened = (t: Test, options: Partial<PipelineOptions> = {}): Pipeline => {
  const pipeline = new Pipeline({ source: synthetic, batchSize: 2, size: 32, workers: 2, ...options });
  t.teardown(() => pipeline.close());
  return pipeline;
};
async function hashes(t: Test, count: number, options: Partial<PipelineOptions>): Promise<string[]> {
  const pipeline = opened(t, options);
  const found: string[] = [];
  for (let i = 0; i < count; i += 1) {
    const { number, images, labels, release } = await pipeline.next();
    t.equal(number, i);
    found.push(createHash('sha256').update(images).update(labels).digest('hex'));
    release();
  }
  return found;
}

t.test('the same batches, in order, whatever the number of workers; others for another seed or rank', async (t) => {
  const one = await hashes(t, 12, { workers: 1 });
  t.equal(new Set(one).size, 12, 'no batch is there twice');
  for (const workers of [2, 3]) t.same(await hashes(t, 12, { workers }), one, `${workers} workers`);
  for (const changed of [{ seed: 2 }, { rank: 1 }]) {
    const others = await hashes(t, 3, { source: { ...synthetic, ...changed } });
    t.notOk(others.some((hash) => one.includes(hash)));
  }
});

t.test('shapes, ranges and labels', async (t) => {
  const pipeline = opened(t, { batchSize: 3, size: 40 });
  const { images, labels } = await pipeline.next();
  t.same([images.length, labels.length], [3 * 40 * 40 * 3, 3]);
  t.ok(images.every((value) => value >= -1 && value <= 1));
  t.ok(labels.every((label) => label >= 0 && label < 10));
  const mean = images.reduce((sum, value) => sum + value, 0) / images.length;
  t.ok(Math.abs(mean) < 0.05, `uniform bytes: mean ${mean}`);
});

t.test('workers run ahead as far as there are slots, and no further', async (t) => {
  const pipeline = opened(t, { workers: 1 });
  const slots = 3;
  const first = await pipeline.next();
  while (pipeline.progress().filled < slots) await new Promise((resolve) => setTimeout(resolve, 5));
  const kept = first.images.slice();
  const second = await pipeline.next();
  const third = await pipeline.next();
  t.same([first.number, second.number, third.number], [0, 1, 2]);
  await t.rejects(pipeline.next(50), { name: 'DataError', message: /Batch 3 did not come within 0\.05 s.*not given back/ });
  t.same(pipeline.progress().filled, slots, 'nothing was written while no slot was free');
  t.ok(Buffer.from(first.images.slice().buffer).equals(Buffer.from(kept.buffer)), 'a batch that is out stays as it is');
  second.release();
  first.release();
  t.equal((await pipeline.next()).number, 3);
  t.ok(pipeline.progress().waitedMs > 0);
  t.equal(pipeline.progress().taken, 4);
});

t.test('misuse, and the end', async (t) => {
  const pipeline = opened(t, { workers: 1 });
  const { release } = await pipeline.next();
  release();
  t.throws(release, { message: /released twice/ });
  for (let i = 0; i < 2; i += 1) await pipeline.next();
  await pipeline.next();
  const waiting = pipeline.next();
  await t.rejects(pipeline.next(), { name: 'UsageError' });
  const ended = t.rejects(waiting, { name: 'DataError', message: /is closed/ });
  await pipeline.close();
  await ended;
  const error = (await pipeline.next().catch((thrown: unknown) => thrown)) as Error;
  t.ok(error instanceof DataError);
  await pipeline.close();
});

t.test('what cannot be is refused before anything starts', async (t) => {
  for (const workers of [0, 21, 1.5]) t.throws(() => planMemory({ workers, batchSize: 1, size: 32 }), { message: /1 to 20 data workers/ });
  t.throws(() => planMemory({ workers: 1, batchSize: 0, size: 32 }), { message: /1 image or more/ });
  t.throws(() => opened(t, { size: 299, fit: 'crop' }), { message: /cannot be cropped to 299×299/ });
  const plan = planMemory({ workers: 4, batchSize: 64, size: 224 });
  t.same([plan.slots, plan.slotBytes], [6, 64 * (224 * 224 * 3 + 1) * 4]);
  checkMemory(plan, 4, plan.bytes * 2, 2);
  const error = t.throws(() => checkMemory(plan, 4, plan.bytes * 2 - 1, 2)) as Error;
  t.ok(error instanceof UsageError);
  t.match(
    error.message,
    /4 data workers need 349 MiB a process \(6 batches of 37 MiB, 32 MiB a worker\), 698 MiB for 2 on this host, but 698 MiB are free/,
  );
  t.throws(() => opened(t, { workers: 20, batchSize: 1_000_000 }), { name: 'UsageError', message: /20 data workers need/ });
});

/** Stored pixels whose red is the row, green the column, blue 7. */
const ramp = Uint8Array.from({ length: STORED_ELEMS }, (_, i) => {
  const pixel = Math.floor(i / CHANNELS);
  return [Math.floor(pixel / STORED_SIZE), pixel % STORED_SIZE, 7][i % CHANNELS]!;
});
const bytes = (values: Float32Array): number[] => [...values].map((value) => Math.round((value + 1) * 127.5 * 100) / 100);

t.test('crops are squares of the image, somewhere, mirrored half of the time', async (t) => {
  const random = new Random(5);
  const [tops, sides] = [new Set<number>(), [0, 0]];
  for (let n = 0; n < 200; n += 1) {
    const into = new Float32Array(1 + 10 * 10 * 3);
    placeImage(ramp, into, 1, 10, 'crop', random);
    const found = bytes(into.subarray(1));
    const [top, left, blue] = found as [number, number, number];
    const isMirrored = found[4]! < left;
    sides[Number(isMirrored)]! += 1;
    tops.add(top);
    for (let y = 0; y < 10; y += 1)
      for (let x = 0; x < 10; x += 1) {
        const at = (y * 10 + x) * 3;
        if (found[at] !== top + y || found[at + 1] !== left + (isMirrored ? -x : x) || found[at + 2] !== blue)
          return t.fail(`${n}, ${y}, ${x}`);
      }
    t.ok(into[0] === 0);
  }
  t.ok(tops.size > 100 && Math.min(...tops) < 20 && Math.max(...tops) > 226, 'anywhere');
  t.ok(Math.min(...sides) > 70, `${sides}`);
  const whole = new Float32Array(STORED_ELEMS);
  placeImage(ramp, whole, 0, STORED_SIZE, 'crop', random);
  const found = bytes(whole);
  t.same([found[1]! + found[STORED_SIZE * 3 - 2]!, found[0], found.at(-3)], [255, 0, 255], 'all of it, where there is nothing to choose');
});

t.test('resized images hold the whole, bilinear with half-pixel centres', async (t) => {
  t.same([fitFor(224), fitFor(256), fitFor(299)], ['crop', 'crop', 'resize']);
  for (const size of [299, 64, 512, 256]) {
    const into = new Float32Array(size * size * 3);
    placeImage(ramp, into, 0, size, 'resize', new Random(2));
    const found = bytes(into);
    const isMirrored = found[1]! > 128;
    const at = (i: number): number => Math.min(Math.max(((i + 0.5) * 256) / size - 0.5, 0), 255);
    for (const [y, x] of [
      [0, 0],
      [0, size - 1],
      [3, 17],
      [size - 1, size - 2],
      [31, 5],
    ] as const) {
      const [row, column, blue] = found.slice((y * size + x) * 3);
      const expected = [at(y), at(isMirrored ? size - 1 - x : x), 7];
      for (const [i, value] of [row!, column!, blue!].entries())
        t.ok(Math.abs(value - expected[i]!) < 0.02, `${size}: ${y}, ${x}: ${value} for ${expected[i]}`);
    }
  }
});

t.test('random numbers: the same for the same seed, no two alike, all places reached', async (t) => {
  t.equal(mixed(1, 2, 3), mixed(1, 2, 3));
  const all = new Set<number>();
  for (let a = 0; a < 20; a += 1) for (let b = 0; b < 20; b += 1) for (let c = 0; c < 20; c += 1) all.add(mixed(a, b, c));
  t.ok(all.size > 7990, `${all.size} of 8000 differ`);
  t.same(permutation(50, new Random(4)), permutation(50, new Random(4)));
  t.same(
    [...permutation(50, new Random(4))].sort((a, b) => a - b),
    Array.from({ length: 50 }, (_, i) => i),
  );
  const counts = new Array<number>(8).fill(0);
  const random = new Random(0);
  for (let i = 0; i < 8000; i += 1) counts[random.below(8)]! += 1;
  t.ok(
    counts.every((count) => count > 850 && count < 1150),
    `${counts}`,
  );
});

t.test('synthetic images: 196,608 bytes by the number of the image alone', async (t) => {
  const [pixels, again] = [new Uint8Array(STORED_ELEMS), new Uint8Array(STORED_ELEMS)];
  const label = new SyntheticImages(synthetic).read(7, pixels);
  const other = new SyntheticImages(synthetic);
  other.read(3, again);
  t.equal(other.read(7, again), label);
  t.ok(Buffer.from(pixels).equals(again));
  const counts = new Array<number>(256).fill(0);
  for (const byte of pixels) counts[byte]! += 1;
  t.ok(Math.min(...counts) > 600 && Math.max(...counts) < 940, 'every byte about 768 times');
});
