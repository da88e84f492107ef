import t from 'tap';
import { PushWindow } from '../../../src/parameter_server/push_window';
import { randomOf } from '../../helpers/random';

t.test('so many bytes are under way, the lowest first', async (t) => {
  const window = new PushWindow([4, 4, 4, 4, 4], 8);
  t.same(window.add([3, 4]), [3, 4]);
  t.same(window.add([2]), [2], 'lower than all under way');
  t.same(window.add([1]), [1]);
  t.same(window.add([0]), [0]);
  t.same(window.answered(0), []);
});
t.test('the others wait for answers', async (t) => {
  const window = new PushWindow([4, 4, 4, 4, 4], 8);
  t.same(window.add([4, 1, 0, 3, 2]), [0, 1]);
  t.same(window.answered(1), [2]);
  t.same(window.answered(0), [3]);
  t.same([...window.answered(3), ...window.answered(2)], [4]);
});
t.test('one that is larger than the window leaves alone', async (t) => {
  const window = new PushWindow([40, 4], 8);
  t.same(window.add([0, 1]), [0]);
  t.same(window.answered(0), [1]);
});

t.test('workers whose pieces come in any order never wait for each other', async (t) => {
  const random = randomOf(7);
  for (let round = 0; round < 200; round += 1) {
    const pieces = 1 + random.below(30);
    const bytes = Array.from({ length: pieces }, () => 1 + random.below(6));
    const workers = Array.from({ length: 3 }, () => {
      const order = random.shuffled([...bytes.keys()]);
      return { order, window: new PushWindow(bytes, 8) };
    });
    const pushed = bytes.map(() => 0);
    let answered = 0;
    // A piece is answered when all have pushed it; in between each worker has one more ready.
    const push = (list: readonly number[]): void => {
      for (const piece of list) {
        pushed[piece]! += 1;
        if (pushed[piece] !== workers.length) continue;
        answered += 1;
        for (const { window } of workers) push(window.answered(piece));
      }
    };
    while (workers.some(({ order }) => order.length > 0)) {
      const open = workers.filter(({ order }) => order.length > 0);
      const { order, window } = random.oneOf(open);
      push(window.add([order.shift()!]));
    }
    if (answered !== pieces) t.fail(`round ${round}: ${answered} of ${pieces} answered`);
  }
  t.pass('200 rounds');
});
