/**
 * Runs Dawn's events while the main thread blocks. Main thread.
 *
 * dawn.node learns what its GPU has finished in a native function that it gives to `globalThis.setImmediate`, looked up at each call, for as long as something is under way. In the middle of a
 * training step the event loop does not turn, so those functions are kept here, and `runDue` calls them; in its own time the loop does, as ever.
 * Invariants: only such functions are held back, everything else goes to Node's own setImmediate untouched; each is called once.
 */
type Immediate = typeof setImmediate;
type Tick = () => void;

export class EventPump {
  private readonly due = new Set<Tick>();
  private isScheduled = false;

  /** Before Dawn makes anything. @param host the object whose setImmediate Dawn will call */
  constructor(host: { setImmediate: Immediate } = globalThis) {
    const real = host.setImmediate;
    const flush = (): void => {
      this.isScheduled = false;
      this.runDue();
    };
    const wrapped = (callback: (...args: unknown[]) => void, ...args: unknown[]): NodeJS.Immediate | undefined => {
      if (args.length > 0 || !isNativeFunction(callback)) return real(callback, ...args);
      this.due.add(callback);
      // One for all: a blocking read runs hundreds, and each would leave one behind.
      if (this.isScheduled) return undefined;
      this.isScheduled = true;
      return real(flush);
    };
    // util.promisify looks for its own version there.
    Object.defineProperties(wrapped, Object.getOwnPropertyDescriptors(real));
    host.setImmediate = wrapped as Immediate;
  }

  /** @returns whether there were any */
  runDue(): boolean {
    const ticks = [...this.due];
    this.due.clear();
    for (const tick of ticks) tick();
    return ticks.length > 0;
  }
}

/** Made by an addon: bound functions have a name, what settles a promise has no prototype. */
const isNativeFunction = (callback: unknown): callback is Tick =>
  typeof callback === 'function' &&
  callback.name === '' &&
  Object.hasOwn(callback, 'prototype') &&
  Function.prototype.toString.call(callback) === 'function () { [native code] }';
