/**
 * Process sets as the main thread knows them: named subsets of the job's ranks, on which collectives run. Main thread.
 *
 * Invariants: a set has an id from its registration until its removal or the end of the generation; the ids of one generation are the coordinator's and never used twice.
 */
import { ProcessSetError, UsageError } from './errors';
import { currentEngine, isInitialized, whenLeaving } from './job';

/** Registered sets, by id; the one of all ranks is not among them. */
const registered = new Map<number, ProcessSet>();
const ids = new WeakMap<ProcessSet, number>();
whenLeaving(() => {
  for (const set of registered.values()) ids.delete(set);
  registered.clear();
});

const describeRanks = (ranks: readonly number[]): string => `[${ranks.slice(0, 8).join(', ')}${ranks.length > 8 ? ', …' : ''}]`;

/** Some ranks of the job. Collectives run on it once `addProcessSet` has registered it, on every rank of the job. */
export class ProcessSet {
  readonly #ranks: readonly number[];

  /** @param ranks global ranks, at least one, in any order @throws UsageError one is no whole number >= 0, appears twice, or (after `init()`) lies outside the job */
  constructor(ranks: number[]) {
    if (!Array.isArray(ranks) || ranks.length === 0)
      throw new UsageError(`ProcessSet takes a list of at least one rank, but was given ${JSON.stringify(ranks) ?? typeof ranks}.`);
    for (const rank of ranks) {
      if (!Number.isInteger(rank) || rank < 0) throw new UsageError(`ProcessSet: a rank is a whole number >= 0, but was ${String(rank)}.`);
    }
    const size = isInitialized() ? currentEngine('ProcessSet').config.size : Number.POSITIVE_INFINITY;
    const stranger = ranks.find((rank) => rank >= size);
    if (stranger !== undefined)
      throw new UsageError(`ProcessSet: rank ${stranger} lies outside the job, which has the ranks 0 to ${size - 1}.`);
    this.#ranks = Object.freeze([...new Set(ranks)].sort((a, b) => a - b));
    if (this.#ranks.length < ranks.length)
      throw new UsageError(`ProcessSet: each rank stands once in the list, but was given ${describeRanks(ranks)}.`);
  }

  /** Global ranks, ascending. */
  get ranks(): readonly number[] {
    return this.#ranks;
  }
  /** Null until it is registered. */
  get id(): number | null {
    return ids.get(this) ?? null;
  }
  size(): number {
    return this.ranks.length;
  }
  /** This process's rank inside the set. @throws ProcessSetError it is not a member; NotInitializedError */
  rank(): number {
    const position = this.ranks.indexOf(currentEngine('ProcessSet.rank()').config.rank);
    if (position < 0) throw notAMember('ProcessSet.rank()', this);
    return position;
  }
  /** Whether this process is a member. @throws NotInitializedError */
  included(): boolean {
    return this.ranks.includes(currentEngine('ProcessSet.included()').config.rank);
  }
}

/** All ranks of whatever job there is. */
class GlobalProcessSet extends ProcessSet {
  constructor() {
    super([0]);
  }
  override get ranks(): readonly number[] {
    return Array.from({ length: currentEngine('globalProcessSet').config.size }, (_, rank) => rank);
  }
  override get id(): number {
    return 0;
  }
  override size(): number {
    return currentEngine('globalProcessSet').config.size;
  }
  override rank(): number {
    return currentEngine('globalProcessSet').config.rank;
  }
}
/** All ranks: what collectives run on when no set is given. */
export const globalProcessSet: ProcessSet = new GlobalProcessSet();

const notAMember = (what: string, set: ProcessSet): ProcessSetError =>
  new ProcessSetError(
    `${what}: rank ${currentEngine(what).config.rank} is no member of process set ${set.id ?? '(not registered)'} of ranks ${describeRanks(set.ranks)}. ` +
      'Guard the call with set.included().',
  );

/** The set, whether or not this rank is a member. @throws ProcessSetError it is not registered; UsageError it is no ProcessSet; NotInitializedError */
export function registeredSet(what: string, set: ProcessSet | undefined): ProcessSet {
  currentEngine(what);
  if (set === undefined || set === globalProcessSet) return globalProcessSet;
  if (!(set instanceof ProcessSet)) throw new UsageError(`${what}: processSet is a ProcessSet, but was ${typeof set}.`);
  if (set.id === null)
    throw new ProcessSetError(
      `${what}: the process set of ranks ${describeRanks(set.ranks)} is not registered. Call addProcessSet on every rank first (again after shutdown()).`,
    );
  return set;
}

/** The set that a collective runs on. @throws as `registeredSet`, and ProcessSetError this rank is no member */
export function memberSet(what: string, set: ProcessSet | undefined): ProcessSet {
  const found = registeredSet(what, set);
  if (!found.included()) throw notAMember(what, found);
  return found;
}

/** The coordinator has given it an id. */
export function register(set: ProcessSet, id: number): void {
  ids.set(set, id);
  registered.set(id, set);
}
export function unregister(set: ProcessSet): void {
  registered.delete(set.id!);
  ids.delete(set);
}
/** Of the same ranks. */
export function registeredTwin(set: ProcessSet): ProcessSet | undefined {
  const isTwin = ({ ranks }: ProcessSet): boolean => ranks.join() === set.ranks.join();
  return isTwin(globalProcessSet) ? globalProcessSet : [...registered.values()].find(isTwin);
}
