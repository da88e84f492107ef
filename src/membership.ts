/** Who takes part: `init`, barriers, `join`, process sets. Main thread. */
import { UsageError } from './errors';
import type { Handle } from './handle';
import { currentEngine, isInitialized, joinJob, shutdown } from './job';
import { globalProcessSet, memberSet, ProcessSet, register, registeredTwin, unregister } from './process_set';
import { checkOptions, hasInFlight, launch, restartNames, run, type Submitted } from './submit';

/** Options of {@link init}. */
export interface InitOptions {
  /** Process sets to register at once; every rank passes the same list in the same order. Default: none. */
  processSets?: ProcessSet[];
}

/**
 * Joins the job; blocks until all ranks have. Who this rank is comes from tsrun, else from Slurm, mpirun, torchrun or Kubernetes; without any of them it makes a job of size 1.
 * Again: does nothing; after `shutdown()`: joins anew.
 * @throws RendezvousError a peer did not appear in time (names the missing ranks), or there is no key; UsageError a variable does not parse, or a process set is wrong (as of addProcessSet; this rank is then
 * not in the job); MismatchError the ranks give different sets
 */
export function init(options: InitOptions = {}): void {
  checkOptions('init', options, ['processSets']);
  const { processSets = [] } = options;
  if (!Array.isArray(processSets) || !processSets.every((set) => set instanceof ProcessSet))
    throw new UsageError('init: processSets is a list of ProcessSet, made by `new hvd.ProcessSet([0, 1])`.');
  if (isInitialized()) return;
  joinJob();
  try {
    for (const set of processSets) addProcessSet(set);
  } catch (error) {
    shutdown();
    throw error;
  }
}

/** Options of {@link barrier}. */
export interface BarrierOptions {
  /** Default: all ranks. */
  processSet?: ProcessSet;
  /** Milliseconds; default: it waits until every rank has come, or one is lost. */
  timeoutMs?: number;
}

function barring(options: BarrierOptions): Submitted<void> {
  checkOptions('barrier', options, ['processSet', 'timeoutMs']);
  const { processSet, timeoutMs = 0 } = options;
  if (options.timeoutMs !== undefined && !(Number.isFinite(timeoutMs) && timeoutMs > 0))
    throw new UsageError(`barrier: timeoutMs is a number of milliseconds > 0, but was ${String(options.timeoutMs)}.`);
  return { kind: 'barrier', values: [], fields: { timeoutMs }, options: { processSet }, finish: () => undefined };
}
/**
 * Returns when every rank of the set has come here.
 * @throws StallError `timeoutMs` has passed since this rank came: all that came get it, and whoever comes late; it names who was missing. UsageError a time-out that is no number of milliseconds > 0;
 * NotInitializedError, ProcessSetError, PeerError, ShutdownError as of every collective
 */
export function barrier(options: BarrierOptions = {}): void {
  run(barring(options));
}
/** {@link barrier} without waiting. @throws at the call what barrier throws there; the handle fails with the rest */
export function barrierAsync(options: BarrierOptions = {}): Handle<void> {
  return launch(barring(options));
}

const JOIN = 'khorovod.join';

function joining(options: { processSet?: ProcessSet }): Submitted<number> {
  checkOptions('join', options, ['processSet']);
  const { processSet } = options;
  const set = memberSet('join', processSet);
  return {
    kind: 'join',
    values: [],
    options: { processSet, name: JOIN },
    finish: (_, { rows }) => {
      restartNames(set);
      return rows![0]![0]!;
    },
  };
}
/**
 * This rank has no more data: it contributes zeros to the others' allreduces until every rank of the set has joined (an average still divides by the size of the set).
 * While a rank has joined, other collectives than allreduce, barrier and join fail with MismatchError on the others.
 * @returns the rank that joined last (a global one). Unnamed calls are then counted anew.
 * @throws UsageError this rank has joined already; NotInitializedError, ProcessSetError, PeerError, StallError, ShutdownError as of every collective
 */
export function join(options: { processSet?: ProcessSet } = {}): number {
  return run(joining(options));
}
/** {@link join} without waiting; until the handle is settled this rank calls nothing else on the set. @throws at the call what join throws there; the handle fails with the rest */
export function joinAsync(options: { processSet?: ProcessSet } = {}): Handle<number> {
  return launch(joining(options));
}

// ───── process sets ─────

/**
 * Registers a set, on every rank of the job alike. Collective over all ranks.
 * @throws UsageError the set, or one of the same ranks, is registered already, or a rank lies outside the job; MismatchError the ranks give different sets; NotInitializedError before `init()`;
 * PeerError, StallError, ShutdownError as of every collective
 */
export function addProcessSet(set: ProcessSet | number[]): ProcessSet {
  const { size } = currentEngine('addProcessSet()').config;
  const added = set instanceof ProcessSet ? set : new ProcessSet(set);
  const stranger = added.ranks.find((rank) => rank >= size);
  if (stranger !== undefined)
    throw new UsageError(`addProcessSet(): rank ${stranger} lies outside the job, which has the ranks 0 to ${size - 1}.`);
  const twin = registeredTwin(added);
  if (twin)
    throw new UsageError(`addProcessSet(): a set of the same ranks is registered already, as process set ${twin.id}. Use that one.`);
  const id = run<number>({
    kind: 'add-set',
    values: [],
    fields: { parts: [[...added.ranks]] },
    options: {},
    finish: (_, { rows }) => rows![0]![0]!,
  });
  register(added, id);
  return added;
}

/** Takes a set back, on every rank of the job alike. Collective over all ranks. @returns whether it was registered @throws UsageError it is the set of all ranks, or a collective is in flight on it; NotInitializedError, MismatchError, PeerError, StallError, ShutdownError as of every collective */
export function removeProcessSet(set: ProcessSet): boolean {
  if (set === globalProcessSet) throw new UsageError('removeProcessSet(): the set of all ranks stays.');
  if (!(set instanceof ProcessSet)) throw new UsageError(`removeProcessSet() takes a ProcessSet, but was given ${typeof set}.`);
  currentEngine('removeProcessSet()');
  const { id } = set;
  if (id === null) return false;
  if (hasInFlight(set)) throw new UsageError(`removeProcessSet(): collectives are in flight on process set ${id}. Wait for them first.`);
  run<void>({ kind: 'remove-set', values: [], fields: { parts: [[id]] }, options: {}, finish: () => undefined });
  unregister(set);
  return true;
}
