/** Counts that several count up together. */
import t from 'tap';
import { BOARD_BYTES, Board } from '../../../../src/transport/shared_memory/board';

t.test('everybody who asks gets another number, of each count from 0', async (t) => {
  const words = new Int32Array(new SharedArrayBuffer(BOARD_BYTES));
  const [one, other] = [new Board(words), new Board(words)];
  t.same([one.next(0), other.next(0), one.next(0), other.next(1023), one.next(1023)], [0, 1, 2, 0, 1]);
  t.same([other.at(0), one.at(1023), one.at(1)], [3, 2, 0]);
});
