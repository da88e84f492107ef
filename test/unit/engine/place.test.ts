import t from 'tap';
import { placesOf } from '../../../src/engine/place';

/** `host` or `host/localRank` for each rank → `localRank/localSize crossRank/crossSize`. */
const places = (text: string): string[] =>
  placesOf(
    text.split(' ').map((word) => {
      const [host, localRank] = word.split('/') as [string, string?];
      return { host, localRank: localRank === undefined ? undefined : Number(localRank) };
    }),
  ).map(({ localRank, localSize, crossRank, crossSize }) => `${localRank}/${localSize} ${crossRank}/${crossSize}`);

t.test('places follow from who is on which host', async (t) => {
  const table: Array<[string, string[]]> = [
    ['a', ['0/1 0/1']],
    ['a a b', ['0/2 0/2', '1/2 0/1', '0/1 1/2']],
    ['a b a b', ['0/2 0/2', '0/2 1/2', '1/2 0/2', '1/2 1/2']],
    ['a b b', ['0/1 0/2', '0/2 1/2', '1/2 0/1']],
    // Given local ranks need not follow the order of ranks.
    ['a/1 a/0 b/0', ['1/2 0/1', '0/2 0/2', '0/1 1/2']],
  ];
  for (const [text, expected] of table) t.same(places(text), expected, text);
});
