/** Which server holds what: everything once, even by bytes, large buckets on all servers, small ones whole. */
import t from 'tap';
import { LEAST_PIECE_BYTES, MOST_PIECE_BYTES, partsIn, piecesOf } from '../../../src/parameter_server/shard';
import { randomOf } from '../../helpers/random';

const LEAST = LEAST_PIECE_BYTES / 4;
const loads = (pieces: ReturnType<typeof piecesOf>, servers: number): number[] =>
  Array.from({ length: servers }, (_, server) =>
    pieces.filter((piece) => piece.server === server).reduce((sum, { elems }) => sum + elems, 0),
  );

t.test('a large bucket is on every server, a small one on one', async (t) => {
  t.same(piecesOf([3 * LEAST, 10, 0, 20], 3), [
    { server: 0, bucket: 0, from: 0, elems: LEAST },
    { server: 1, bucket: 0, from: LEAST, elems: LEAST },
    { server: 2, bucket: 0, from: 2 * LEAST, elems: LEAST },
    { server: 0, bucket: 1, from: 0, elems: 10 },
    { server: 1, bucket: 3, from: 0, elems: 20 },
  ]);
  t.equal(piecesOf([2 * LEAST - 1], 4).length, 1, 'no piece is smaller than it is worth');
  t.equal(piecesOf([2 * LEAST], 4).length, 2);
  t.same(piecesOf([], 3), []);
  t.same(piecesOf([0], 1), []);
});

t.test('in random cases all elements are covered once, pieces begin on cache lines, servers are even', async (t) => {
  const random = randomOf(11);
  for (let round = 0; round < 500; round += 1) {
    const servers = 1 + random.below(9);
    const buckets = Array.from({ length: random.below(40) }, () => random.below(random.oneOf([2, 100, 40_000, 3_000_000])));
    const pieces = piecesOf(buckets, servers);
    for (const [bucket, elems] of buckets.entries()) {
      const own = pieces.filter((piece) => piece.bucket === bucket);
      let end = 0;
      for (const piece of own) {
        if (piece.from !== end || piece.elems < 1 || piece.from % 16 !== 0) t.fail(`round ${round}: ${JSON.stringify(own)}`);
        end += piece.elems;
      }
      if (end !== elems) t.fail(`round ${round}: ${end} of ${elems} elements`);
      const counts = [...new Set(own.map(({ server }) => server))].map((server) => own.filter((piece) => piece.server === server).length);
      if (new Set(counts).size > 1) t.fail(`round ${round}: servers have ${counts} pieces of a bucket`);
      if (own.some((piece) => piece.elems * 4 > MOST_PIECE_BYTES + 64)) t.fail(`round ${round}: a piece is too large`);
    }
    const all = loads(pieces, servers);
    const largest = Math.max(0, ...pieces.map(({ elems }) => elems));
    // A piece goes to who has least: nobody is further ahead than by one.
    if (Math.max(...all) - Math.min(...all) > largest) t.fail(`round ${round}: loads ${all}, largest piece ${largest}`);
    t.same(piecesOf(buckets, servers), pieces, 'the same for every worker');
  }
});

t.test('the networks people train are even within a hundredth', async (t) => {
  // Buckets of 4 MiB and a rest.
  const buckets = [...Array(24).fill(1 << 20), 400_000];
  for (const servers of [2, 3, 4, 7]) {
    const all = loads(piecesOf(buckets, servers), servers);
    t.ok(Math.max(...all) / Math.min(...all) < 1.01, `${servers}: ${all}`);
  }
});

t.test('variables are cut where pieces are', async (t) => {
  const variables = [
    { from: 0, elems: 10 },
    { from: 10, elems: 0 },
    { from: 10, elems: 20 },
    { from: 30, elems: 5 },
  ];
  t.same(partsIn(variables, { from: 0, elems: 16 }), [
    { variable: 0, from: 0, elems: 10 },
    { variable: 2, from: 10, elems: 6 },
  ]);
  t.same(partsIn(variables, { from: 16, elems: 19 }), [
    { variable: 2, from: 0, elems: 14 },
    { variable: 3, from: 14, elems: 5 },
  ]);
});
