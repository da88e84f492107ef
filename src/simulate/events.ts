/**
 * What happens next in a simulation: a queue of moments, each with what is then done. Pure; no clock but its own.
 *
 * Of what happens at the same moment, the lower `order` goes first, then what was planned first: a run depends on its input alone.
 */
const FIRST_ROOM = 1 << 10;
/** `order` and a counter share the 53 bits of an integer. */
const COUNT = 2 ** 40;
/** Children of a node of the heap: four in a row lie on one cache line. */
const ARITY = 4;

type Act = (what: unknown) => void;

export class Events {
  /** Seconds. */
  now = 0;
  private planned = 0;
  private size = 0;
  private times = new Float64Array(FIRST_ROOM);
  private orders = new Float64Array(FIRST_ROOM);
  private readonly acts: Array<Act | undefined> = [];
  private readonly whats: unknown[] = [];

  /** @param time not before now @param order a small integer */
  at<W>(time: number, order: number, act: (what: W) => void, what: W): void {
    if (this.size === this.times.length) {
      this.times = grown(this.times);
      this.orders = grown(this.orders);
    }
    const key = order * COUNT + this.planned++;
    let i = this.size++;
    while (i > 0) {
      const parent = ((i - 1) / ARITY) | 0;
      if (!this.isBefore(time, key, parent)) break;
      this.move(parent, i);
      i = parent;
    }
    this.put(i, time, key, act as Act, what);
  }

  /** Until nothing is left. @returns how much happened */
  run(): number {
    let count = 0;
    for (; this.size > 0; count += 1) {
      const act = this.acts[0]!;
      const what = this.whats[0]!;
      this.now = this.times[0]!;
      this.takeFirst();
      act(what);
    }
    return count;
  }

  private takeFirst(): void {
    const last = --this.size;
    const time = this.times[last]!;
    const key = this.orders[last]!;
    const act = this.acts[last]!;
    const what = this.whats[last];
    this.acts[last] = this.whats[last] = undefined;
    if (last === 0) return;
    let i = 0;
    for (;;) {
      const first = ARITY * i + 1;
      if (first >= last) break;
      let least = first;
      const end = Math.min(first + ARITY, last);
      for (let child = first + 1; child < end; child += 1) if (this.isBefore(this.times[child]!, this.orders[child]!, least)) least = child;
      if (!(this.times[least]! < time || (this.times[least]! === time && this.orders[least]! < key))) break;
      this.move(least, i);
      i = least;
    }
    this.put(i, time, key, act, what);
  }

  private isBefore(time: number, key: number, other: number): boolean {
    return time < this.times[other]! || (time === this.times[other]! && key < this.orders[other]!);
  }
  private move(from: number, to: number): void {
    this.put(to, this.times[from]!, this.orders[from]!, this.acts[from]!, this.whats[from]);
  }
  private put(i: number, time: number, key: number, act: Act, what: unknown): void {
    this.times[i] = time;
    this.orders[i] = key;
    this.acts[i] = act;
    this.whats[i] = what;
  }
}

function grown(array: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(2 * array.length);
  larger.set(array);
  return larger;
}
