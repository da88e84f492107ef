/** The names under which the optimizers of the ranks meet. Main thread. */
import { currentEngine, whenLeaving } from '../job';
import type { ProcessSet } from '../process_set';

/** By process set and kind: how many without a name were used in this job. */
const used = new Map<ProcessSet, Map<string, number>>();
whenLeaving(() => used.clear());

function countOf(what: string, set: ProcessSet): number {
  const counts = used.get(set) ?? new Map<string, number>();
  used.set(set, counts);
  counts.set(what, (counts.get(what) ?? 0) + 1);
  return counts.get(what)!;
}

export class ExchangeName {
  /** In this job. */
  private named?: { readonly engine: unknown; readonly name: string };

  constructor(
    private readonly what: string,
    private readonly given: string,
    private readonly processSet: ProcessSet,
  ) {}

  /**
   * Given, or the n-th of its kind that this process has used on the process set in this job. Used, not made: a rank may make some for itself (a model that it alone loads), but what is used is used by
   * all ranks of the set, in one order.
   */
  get name(): string {
    if (this.given) return this.given;
    const engine = currentEngine(this.what);
    if (this.named?.engine !== engine) this.named = { engine, name: `${this.what}.${countOf(this.what, this.processSet)}` };
    return this.named.name;
  }
}
