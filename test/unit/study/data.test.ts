/** Which images a run of the optimizers' study trains on, and what tells them from others. */
import t from 'tap';
import { IMAGE_ELEMS } from '../../../examples/cifar10/data';
import { DataError, identityOf, studyData } from '../../../scripts/study/data';

const record = (label: number, value: number): Buffer => Buffer.concat([Buffer.of(label), Buffer.alloc(IMAGE_ELEMS, value)]);
const train = Buffer.concat([record(1, 10), record(2, 20), record(3, 30)]);

t.test('the first images of a folder; the digest is of labels and pixels, of both sets', async (t) => {
  const folder = t.testdir({
    a: { 'data_batch_1.bin': train, 'test_batch.bin': record(4, 40) },
    b: { 'data_batch_1.bin': train, 'test_batch.bin': record(4, 41) },
  });
  const all = studyData(`${folder}/a`, undefined, 1);
  t.same([all.train.count, all.test.count, all.train.pixels.length], [3, 1, 3 * IMAGE_ELEMS]);
  const some = studyData(`${folder}/a`, 2, 1);
  t.same([some.train.count, [...some.train.labels], some.train.pixels.length], [2, [1, 2], 2 * IMAGE_ELEMS]);
  const { sha256, ...counts } = identityOf(all);
  t.same(counts, { trainImages: 3, testImages: 1 });
  t.match(sha256, /^[0-9a-f]{64}$/);
  t.equal(identityOf(studyData(`${folder}/a`, 3, 2)).sha256, sha256, 'the seed does not count where images are read');
  t.not(identityOf(some).sha256, sha256);
  t.not(identityOf(studyData(`${folder}/b`, undefined, 1)).sha256, sha256);
});

t.test('a folder that is no such is refused', async (t) => {
  const folder = t.testdir({ a: {}, b: { 'data_batch_1.bin': train.subarray(5), 'test_batch.bin': train } });
  for (const name of ['a', 'b', 'none']) t.ok(t.throws(() => studyData(`${folder}/${name}`, undefined, 1)) instanceof DataError, name);
});

t.test('without a folder gratings are made from the seed', async (t) => {
  const made = studyData(undefined, 20, 7);
  t.same([made.train.count, made.test.count], [20, 1000]);
  t.equal(identityOf(studyData(undefined, 20, 7)).sha256, identityOf(made).sha256);
  t.not(identityOf(studyData(undefined, 20, 8)).sha256, identityOf(made).sha256);
});
