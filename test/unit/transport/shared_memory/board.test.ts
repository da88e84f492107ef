/** Counts that several count up together. */
import t from 'tap';
import { BOARD_BYTES, Board } from '../../../../src/transport/shared_memory/board';

t.test('everybody who asks gets another number, of each count from 0, again after a reset', async (t) => {
  const words = new Int32Array(new SharedArrayBuffer(BOARD_BYTES));
  const [one, other] = [new Board(words), new Board(words)];
  t.same([one.next(0), other.next(0), one.next(0), other.next(63), one.next(63)], [0, 1, 2, 0, 1]);
  t.same([other.at(0), one.at(63), one.at(1)], [3, 2, 0]);
  one.reset(1, 63);
  t.same([other.next(0), one.next(63), other.next(1)], [3, 0, 0], 'of those that are named');
});
