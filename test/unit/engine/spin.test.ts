/** When the communication thread keeps awake, by a clock of the test's own. */
import t from 'tap';
import { Spinner } from '../../../src/engine/spin';

function make(isAllowed = true) {
  const clock = { ms: 1000 };
  let next: (() => void) | undefined;
  const spinner = new Spinner(
    isAllowed,
    () => clock.ms,
    (call) => {
      next = call;
    },
  );
  return {
    clock,
    spinner,
    /** A turn of the event loop that took so long. @returns whether there will be another one */
    turn(ms: number): boolean {
      clock.ms += ms;
      const call = next;
      next = undefined;
      call?.();
      return next !== undefined;
    },
    get isSpinning() {
      return next !== undefined;
    },
  };
}

t.test('it spins while a call is waited for, half a millisecond after the last news at most', async (t) => {
  const one = make();
  one.spinner.begin();
  t.ok(one.turn(0.2));
  t.ok(one.turn(0.2));
  one.spinner.begin();
  t.ok(one.turn(0.2), 'news');
  t.ok(one.turn(0.2));
  t.notOk(one.turn(0.2));
  one.spinner.begin();
  one.spinner.end();
  t.notOk(one.turn(0.1), 'what was waited for is there');
});

t.test('never with more ranks than cores', async (t) => {
  const one = make(false);
  one.spinner.begin();
  t.notOk(one.isSpinning);
});

t.test('a turn that took long makes it sleep, each time for twice as long, and for half as long after a wait without', async (t) => {
  const one = make();
  /** For how long a call after a long turn finds it asleep. */
  const sleepMs = (): number => {
    one.spinner.begin();
    t.notOk(one.turn(1), 'a long turn ends it');
    one.spinner.end();
    const fromMs = one.clock.ms;
    for (let ms = 1; ms < 1000; ms *= 2) {
      one.clock.ms = fromMs + ms;
      one.spinner.begin();
      const isAwake = one.isSpinning;
      one.spinner.end();
      one.turn(0);
      if (isAwake) return ms;
    }
    return Number.NaN;
  };
  const undisturbed = (): void => {
    one.spinner.begin();
    one.turn(0.1);
    one.spinner.end();
    one.turn(0.1);
  };
  // What finds it awake ends undisturbed, too.
  t.same([sleepMs(), sleepMs(), sleepMs()], [1, 1, 1], 'one long turn now and then');
  for (let i = 0; i < 20; i += 1) {
    one.clock.ms += 1000;
    one.spinner.begin();
    one.turn(1);
    one.spinner.end();
  }
  t.equal(sleepMs(), 256, 'again and again: a quarter of a second');
  for (let i = 0; i < 20; i += 1) undisturbed();
  t.equal(sleepMs(), 1);
});
