/** How many elements of a data set a rank gets. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../../src/index';
import { shardSize } from '../../../src/tensorflow/shard';

t.test('sizes', async (t) => {
  for (let size = 0; size <= 13; size += 1) {
    for (const count of [1, 2, 3, 5]) {
      const ranks = Array.from({ length: count }, (_, rank) => rank);
      const all = Array.from({ length: size }, (_, i) => i);
      t.same(
        ranks.map((rank) => shardSize(size, rank, count, false)),
        ranks.map((rank) => all.filter((i) => i % count === rank).length),
        `${size} among ${count}`,
      );
      for (const rank of ranks) t.equal(shardSize(size, rank, count, true), Math.floor(size / count));
    }
  }
  for (const even of [true, false]) {
    t.equal(shardSize(Number.POSITIVE_INFINITY, 1, 2, even), Number.POSITIVE_INFINITY);
    for (const unknown of [null, undefined, Number.NaN]) t.equal(shardSize(unknown, 1, 2, even), null);
  }
});

t.test('what it refuses', async (t) => {
  const dataset = tf.data.array([1, 2, 3]);
  t.throws(() => hvd.shard(dataset), { code: 'ERR_HVD_NOT_INITIALIZED' });
  hvd.init();
  t.throws(() => hvd.shard([1, 2] as never), { code: 'ERR_HVD_USAGE', message: /takes a data set/ });
  t.throws(() => hvd.shard(null as never), { code: 'ERR_HVD_USAGE' });
  t.throws(() => hvd.shard(dataset, { even: 1 as never }), { code: 'ERR_HVD_USAGE', message: /even is true or false/ });
  t.throws(() => hvd.shard(dataset, { evenly: true } as never), { code: 'ERR_HVD_USAGE', message: /no option 'evenly'/ });
  t.same(await hvd.shard(dataset).toArray(), [1, 2, 3], 'one rank has all');
});
