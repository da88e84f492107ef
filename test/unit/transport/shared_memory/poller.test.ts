/** Who waits is looked after at once, in a turn of the event loop, or by a bell; whatever comes, the loop turns. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import t from 'tap';
import { Poller, type Waiting } from '../../../../src/transport/shared_memory/poller';

class Fake implements Waiting {
  looks = 0;
  isArmed = false;
  isListening = false;
  /** @param wants so many messages @param everyLooks each of them is there at one of so many looks */
  constructor(
    public wants: number,
    private readonly everyLooks: number,
    private readonly onNews = (): void => {},
  ) {}
  get isWaiting(): boolean {
    return this.wants > 0;
  }
  poll(): boolean {
    this.looks += 1;
    if (!this.isWaiting || this.looks % this.everyLooks !== 0) return false;
    this.wants -= 1;
    this.onNews();
    return true;
  }
  arm(): boolean {
    this.isArmed = true;
    return true;
  }
}

function pollerWith(one: Fake, crowd: { ranks: number; cores: number }): { poller: Poller; yields: () => number } {
  let yields = 0;
  const poller = new Poller(() => {
    yields += 1;
  }, crowd);
  poller.add(one);
  return { poller, yields: () => yields };
}

t.test('what a neighbour answers at once is there before the event loop turns', async (t) => {
  const one = new Fake(1, 1);
  const { poller, yields } = pollerWith(one, { ranks: 2, cores: 4 });
  poller.wake();
  t.equal(one.looks, 0, 'not in the middle of what the caller does');
  await Promise.resolve();
  t.equal(one.wants, 0);
  t.equal(one.looks, 1);
  t.equal(yields(), 0);
});

t.test('with more ranks than cores a neighbour gets the core, and the loop turns first', async (t) => {
  const one = new Fake(1, 3);
  const { poller, yields } = pollerWith(one, { ranks: 3, cores: 2 });
  poller.wake();
  await Promise.resolve();
  t.equal(one.looks, 0);
  await nextTurn();
  await nextTurn();
  t.equal(one.wants, 0);
  t.equal(yields(), 2, 'between looks');
});

t.test('however much comes, the event loop turns', async (t) => {
  let isTurned = false;
  let seen = 0;
  const one = new Fake(1_000_000, 1, () => {
    seen += 1;
    if (!isTurned) poller.wake();
  });
  const { poller } = pollerWith(one, { ranks: 2, cores: 4 });
  poller.wake();
  await nextTurn();
  isTurned = true;
  t.ok(seen > 0 && seen < 1_000_000, `${seen} messages before`);
});

t.test('who gets nothing for long waits for a bell', async (t) => {
  const one = new Fake(1, Number.POSITIVE_INFINITY);
  const { poller } = pollerWith(one, { ranks: 2, cores: 4 });
  poller.wake();
  for (let turn = 0; turn < 1_000_000 && !one.isArmed; turn += 1) await nextTurn();
  t.ok(one.isArmed);
  const { looks } = one;
  for (let turn = 0; turn < 10; turn += 1) await nextTurn();
  t.equal(one.looks, looks, 'and is not looked at any more');
});
