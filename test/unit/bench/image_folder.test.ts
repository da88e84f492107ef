/** Folders of images: what is listed and refused, each rank's part and order, what is decoded, and what a corrupt image does, whichever worker meets it. */
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import t, { type Test } from 'tap';
import { DataError } from '../../../src/bench/data/data_error';
import { FolderImages, type OnCorrupt } from '../../../src/bench/data/decoded';
import { STORED_ELEMS } from '../../../src/bench/data/image';
import { EpochOrder, type ImageFile, listImages, shardOf } from '../../../src/bench/data/image_folder';
import { Pipeline } from '../../../src/bench/data/pipeline';

type Rgb = readonly [number, number, number];
const colours: Record<string, Rgb> = {
  'a/1.png': [250, 0, 0],
  'a/2.png': [0, 250, 0],
  'b/1.png': [0, 0, 250],
  'b/2.PNG': [250, 250, 0],
  'c d/x.png': [9, 99, 199],
};
const plain = ([r, g, b]: Rgb, width = 300, height = 260) => sharp({ create: { width, height, channels: 3, background: { r, g, b } } });

async function folder(t: Test): Promise<string> {
  const root = t.testdir({});
  for (const [name, colour] of Object.entries(colours)) {
    mkdirSync(path.join(root, path.dirname(name)), { recursive: true });
    writeFileSync(path.join(root, name), await plain(colour).png().toBuffer());
  }
  for (const other of ['README.txt', 'a/notes.txt', 'a/.hidden.png']) writeFileSync(path.join(root, other), 'no image');
  return root;
}
const namesOf = (root: string, images: readonly ImageFile[]): string[] =>
  images.map(({ file, label }) => `${path.relative(root, file)}=${label}`);

t.test('the list: sorted, labels by folder, other files left out', async (t) => {
  const root = await folder(t);
  const { images, classes } = listImages(root);
  t.same(classes, ['a', 'b', 'c d']);
  t.same(namesOf(root, images), ['a/1.png=0', 'a/2.png=0', 'b/1.png=1', 'b/2.PNG=1', 'c d/x.png=2']);
  symlinkSync(path.join(root, 'a'), path.join(root, 'z'));
  t.same(listImages(root).classes, ['a', 'b', 'c d', 'z'], 'a link to a folder is a folder');
});

t.test('a folder that is missing, empty or damaged is refused by name', async (t) => {
  const root = await folder(t);
  const refused = (where: string, message: RegExp) => t.ok((t.throws(() => listImages(where), { message }) as Error) instanceof DataError);
  refused(path.join(root, 'nowhere'), /folder .*nowhere cannot be read: ENOENT/);
  refused(path.join(root, 'a/1.png'), /1\.png cannot be read: ENOTDIR/);
  refused(path.join(root, 'a'), /folder .*a has no folder in it; .*CLASS\/\*\.jpg/);
  mkdirSync(path.join(root, 'empty'));
  refused(root, /empty has no \.jpg/);
});

t.test('shards and orders', async (t) => {
  const images = Array.from({ length: 7 }, (_, i) => ({ file: String(i), label: i }));
  t.same(
    [0, 1, 2].map((rank) => shardOf(images, rank, 3).map(({ label }) => label)),
    [
      [0, 3],
      [1, 4],
      [2, 5],
    ],
  );
  t.throws(() => shardOf(images, 0, 8), { name: 'DataError', message: /7 images are too few for 8 ranks/ });
  const [order, again] = [new EpochOrder(10, 3), new EpochOrder(10, 3)];
  const all = Array.from({ length: 30 }, (_, i) => order.at(i));
  for (const epoch of [0, 1, 2])
    t.same(
      all.slice(epoch * 10, epoch * 10 + 10).sort((a, b) => a - b),
      Array.from({ length: 10 }, (_, i) => i),
      'each once an epoch',
    );
  t.notSame(all.slice(0, 10), all.slice(10, 20));
  t.same(
    [29, 3, 15].map((i) => again.at(i)),
    [29, 3, 15].map((i) => all[i]),
    'asked for in any order',
  );
});

const read = async (file: string): Promise<{ pixels: Uint8Array; label: number }> => {
  const images = new FolderImages({ kind: 'folder', seed: 1, rank: 0, images: [{ file, label: 4 }], onCorrupt: 'refuse' }, () => {});
  const pixels = new Uint8Array(STORED_ELEMS);
  return { label: await images.read(0, pixels), pixels };
};
const at = (pixels: Uint8Array, row: number, column: number): number[] => [
  ...pixels.subarray((row * 256 + column) * 3, (row * 256 + column) * 3 + 3),
];

t.test('JPEG and PNG, of any size and kind of colour, become 256×256 pixels of three bytes', async (t) => {
  const root = t.testdir({});
  const half = await sharp({ create: { width: 512, height: 256, channels: 3, background: 'black' } })
    .composite([{ input: { create: { width: 256, height: 256, channels: 3, background: 'white' } }, left: 256, top: 0 }])
    .png()
    .toBuffer();
  const files = {
    'wide.png': half,
    'tiny.png': await plain([10, 20, 30], 3, 5).png().toBuffer(),
    'photo.jpg': await plain([10, 20, 30], 400, 300).jpeg({ quality: 95 }).toBuffer(),
    'progressive.jpeg': await plain([10, 20, 30], 400, 300).jpeg({ progressive: true, quality: 95 }).toBuffer(),
    'grey.png': await plain([90, 90, 90]).toColourspace('b-w').png().toBuffer(),
    'grey.jpg': await plain([90, 90, 90]).toColourspace('b-w').jpeg({ quality: 95 }).toBuffer(),
    'clear.png': await plain([10, 20, 30]).ensureAlpha(1).png().toBuffer(),
    'turned.jpg': await sharp(half).jpeg({ quality: 95 }).withMetadata({ orientation: 6 }).toBuffer(),
  };
  for (const [name, bytes] of Object.entries(files)) writeFileSync(path.join(root, name), bytes);
  const near = (found: number[], expected: number[], what: string) =>
    t.ok(
      found.every((value, i) => Math.abs(value - expected[i]!) <= 3),
      `${what}: ${found}`,
    );
  for (const name of ['tiny.png', 'photo.jpg', 'progressive.jpeg', 'clear.png', 'grey.png', 'grey.jpg']) {
    const { pixels, label } = await read(path.join(root, name));
    t.equal(label, 4);
    for (const [row, column] of [
      [0, 0],
      [128, 17],
      [255, 255],
    ] as const)
      near(at(pixels, row, column), name.startsWith('grey') ? [90, 90, 90] : [10, 20, 30], name);
  }
  const { pixels: middle } = await read(path.join(root, 'wide.png'));
  near(at(middle, 100, 20), [0, 0, 0], 'the middle square, left');
  near(at(middle, 100, 235), [255, 255, 255], 'and right');
  const { pixels: turned } = await read(path.join(root, 'turned.jpg'));
  near([...at(turned, 20, 100), ...at(turned, 235, 100)], [0, 0, 0, 255, 255, 255], 'as its orientation says: what was left is above');
});

/** Labels of the first epochs as the pipeline gives them, and what was skipped. */
async function labelsOf(t: Test, images: readonly ImageFile[], workers: number, onCorrupt: OnCorrupt) {
  const skipped: string[] = [];
  const onSkip = (file: string): number => skipped.push(path.basename(file));
  const pipeline = new Pipeline({
    source: { kind: 'folder', seed: 1, rank: 0, images, onCorrupt },
    batchSize: 2,
    size: 32,
    workers,
    onSkip,
  });
  t.teardown(() => pipeline.close());
  const found: number[] = [];
  for (let i = 0; i < 10; i += 1) {
    const { labels, release } = await pipeline.next();
    found.push(...labels);
    release();
  }
  const count = pipeline.progress().skipped;
  await pipeline.close();
  return { labels: found, skipped, count };
}

t.test('a corrupt image is named and refused, or skipped: alike with any number of workers', async (t) => {
  const root = await folder(t);
  const { images } = listImages(root);
  const whole = await labelsOf(t, images, 1, 'refuse');
  t.same([whole.labels.length, whole.skipped, whole.count], [20, [], 0]);
  t.same((await labelsOf(t, images, 3, 'refuse')).labels, whole.labels);
  const broken = path.join(root, 'b/1.png');
  const jpeg = await sharp({
    create: { width: 300, height: 300, channels: 3, background: 'red', noise: { type: 'gaussian', mean: 128, sigma: 30 } },
  })
    .jpeg()
    .toBuffer();
  for (const [what, bytes] of [
    ['cut off', readFileSync(broken).subarray(0, 200)],
    ['another thing', Buffer.from('GIF89a, not really')],
    ['nothing', Buffer.alloc(0)],
    ['a JPEG cut off', jpeg.subarray(0, jpeg.length >> 1)],
  ] as const) {
    writeFileSync(broken, bytes);
    await t.rejects(
      labelsOf(t, images, 2, 'refuse'),
      { name: 'DataError', message: /b\/1\.png cannot be decoded: .*skip such images/ },
      what,
    );
    const [one, three] = [await labelsOf(t, images, 1, 'skip'), await labelsOf(t, images, 3, 'skip')];
    t.same(one.labels, three.labels, what);
    for (const { skipped, count } of [one, three]) t.same([skipped, count], [['1.png'], 1], `${what}: named and counted once`);
    const changed = one.labels.filter((label, i) => label !== whole.labels[i]);
    t.ok(changed.length <= 4, 'only its own places went to others');
  }
  rmSync(broken);
  await t.rejects(labelsOf(t, [{ file: broken, label: 0 }], 1, 'skip'), { name: 'DataError', message: /None of the 1 images/ });
});
