/**
 * How a checked call gets into the engine and its result out: names, what is in flight, the block of arena memory a call works on. Main thread.
 *
 * Invariants: a name is in flight once; a block is freed when the call's outcome is made, whether or not anybody asks for it; a tensor is made only for who asks, where he asks: made for an other
 * call's sake it would be of a `tf.tidy` that has nothing to do with it.
 */
import { type Dtype, elemsOf, type NumericArray } from './dtype';
import type { Call } from './engine/call';
import type { Engine, Outcome } from './engine/engine';
import { DuplicateNameError, type HvdError, UsageError } from './errors';
import { type Handle, PendingHandle } from './handle';
import { currentEngine, whenLeaving } from './job';
import { memberSet, type ProcessSet } from './process_set';
import { copyIn, type Described, describe, type Value, viewOf } from './values';

/** Options of every collective. All ranks give the same ones. */
export interface CollectiveOptions {
  /** Key under which the ranks meet. Default: the n-th unnamed call of this kind on this process set since `init()`. Ranks may submit names in different orders. */
  name?: string;
  /** Default: all ranks. A rank outside the set throws ProcessSetError. */
  processSet?: ProcessSet;
}

/** What this rank has under way on one process set. */
interface OnSet {
  readonly inFlight: Map<string, PendingHandle<unknown>>;
  /** By kind: how many calls had no name. */
  readonly unnamed: Map<string, number>;
  isJoining: boolean;
}
const sets = new Map<ProcessSet, OnSet>();
whenLeaving(() => sets.clear());

function onSet(set: ProcessSet): OnSet {
  let found = sets.get(set);
  if (!found) {
    found = { inFlight: new Map(), unnamed: new Map(), isJoining: false };
    sets.set(set, found);
  }
  return found;
}

/** Whether a collective is pending on it. */
export const hasInFlight = (set: ProcessSet): boolean => [...onSet(set).inFlight.values()].some(({ isDone }) => !isDone);
/** Ranks have made different numbers of calls when they have all joined. */
export const restartNames = (set: ProcessSet): void => onSet(set).unnamed.clear();

export type Kind = Call['kind'];

function nameOf(kind: Kind, given: string | undefined, { inFlight, unnamed }: OnSet): string {
  if (given === undefined) return `${kind}.noname.${(unnamed.get(kind) ?? 0) + 1}`;
  if (typeof given !== 'string' || given === '' || given.length > 1024)
    throw new UsageError(`${kind}: a name is a text of 1 to 1024 characters, but was ${JSON.stringify(given)?.slice(0, 60)}.`);
  const earlier = inFlight.get(given);
  // One that is complete, but that nobody has asked for yet, stands in nobody's way.
  if (earlier?.isDone) earlier.settle();
  else if (earlier) {
    throw new DuplicateNameError(
      `${kind} '${given}': a collective of that name is still in flight on this rank. Wait for it first, or give this one another name.`,
      { tensor: given },
    );
  }
  return given;
}

/** @param what whose options they are @throws UsageError they are no object, or one is unknown */
export function checkOptions(what: string, options: object, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null)
    throw new UsageError(`${what} takes its options as an object with ${known.join(', ')}, but was given ${String(options)}.`);
  for (const [name, value] of Object.entries(options)) {
    if (known.includes(name) || value === undefined) continue;
    throw new UsageError(`${what} has no option '${name}'. It has ${known.join(', ')}.`);
  }
}

/** The values, one behind the other, from `byteOffset` on; overwritten by what reduces or broadcasts. Shared memory, or a copy of it. */
export interface Block {
  readonly byteOffset: number;
  view(dtype: Dtype, byteOffset: number, elems: number): NumericArray;
}

export interface Submitted<R> {
  readonly kind: Kind;
  readonly values: readonly Described[];
  readonly fields?: Partial<Call>;
  readonly options: CollectiveOptions;
  readonly isGrouped?: boolean;
  readonly finish: (block: Block, outcome: Outcome) => R;
  /** The values' own place in the arena: nothing is copied. */
  readonly placed?: number;
  /** For the timeline, where somebody else has copied them there. */
  readonly copyingSinceUs?: number;
}

/** A group of one, as the call of its only value. */
export const single = <T>(submitted: Submitted<T[]>): Submitted<T> => ({
  ...submitted,
  finish: (block, outcome) => submitted.finish(block, outcome)[0]!,
});

export function describeAll(kind: Kind, values: readonly Value[]): Described[] {
  const all = values.map((value) => describe(value, kind));
  const other = all.find(({ dtype }) => dtype !== all[0]!.dtype);
  if (other)
    throw new UsageError(
      `grouped ${kind}: all values of a group have one dtype, but these are ${all[0]!.dtype} and ${other.dtype}. Make a group for each dtype.`,
    );
  return all;
}

function start<R>(
  { kind, values, fields, options, isGrouped, finish, placed, copyingSinceUs }: Submitted<R>,
  isAwaited: boolean,
): PendingHandle<R> {
  const engine = currentEngine(kind);
  const set = memberSet(kind, options.processSet);
  const state = onSet(set);
  const { inFlight } = state;
  if (state.isJoining)
    throw new UsageError(`${kind}: this rank has joined, and calls nothing on that process set until all have. Await join() first.`);
  const name = nameOf(kind, options.name, state);
  const dtype: Dtype = values[0]?.dtype ?? 'uint8';
  const call: Call = {
    name,
    kind,
    dtype,
    parts: values.map(({ shape }) => [...shape]),
    op: 'sum',
    prescale: 1,
    postscale: 1,
    root: -1,
    processSet: set.id!,
    grouped: isGrouped ?? false,
    timeoutMs: 0,
    compression: 'none',
    splits: [],
    ...fields,
  };
  const bytes = values.reduce((sum, value) => sum + value.bytes, 0);
  const byteOffset = placed ?? engine.arena.allocate(bytes);
  const isCopied = placed === undefined && values.length > 0;
  const sinceUs = isCopied ? engine.timeline?.nowUs() : copyingSinceUs;
  try {
    if (placed === undefined)
      forEachPart(values, byteOffset, (value, at) => copyIn(value, engine.arena.view(dtype, at, elemsOf(value.shape))));
    const pending = engine.submit(call, byteOffset, bytes, isAwaited, sinceUs);
    const handle = new PendingHandle<R>(name, engine, pending, (outcome, isAsked) => {
      if (inFlight.get(name) === handle) inFlight.delete(name);
      if (kind === 'join') state.isJoining = false;
      const settlingUs = engine.timeline?.nowUs();
      try {
        if (outcome.error) throw atTheCall(outcome.error);
        if (!isAsked && values.some(({ isTensor }) => isTensor)) {
          const copy = copyOfBlock(engine, byteOffset, bytes);
          return () => finish(copy, outcome);
        }
        const result = finish({ byteOffset, view: (...place) => engine.arena.view(...place) }, outcome);
        return () => result;
      } finally {
        if (placed === undefined) engine.arena.release(byteOffset);
        if (settlingUs !== undefined) engine.timeline?.settled(pending.id, settlingUs, isCopied && !outcome.error);
      }
    });
    inFlight.set(name, handle as PendingHandle<unknown>);
    // One that could not begin has used up no name: the next try meets the other ranks' first.
    if (options.name === undefined) state.unnamed.set(kind, (state.unnamed.get(kind) ?? 0) + 1);
    state.isJoining = kind === 'join';
    return handle;
  } catch (error) {
    if (placed === undefined) engine.arena.release(byteOffset);
    throw error;
  }
}

function copyOfBlock({ arena }: Engine, byteOffset: number, bytes: number): Block {
  const { buffer } = arena.view('uint8', byteOffset, bytes).slice();
  return { byteOffset, view: (dtype, at, elems) => viewOf(dtype, buffer, at - byteOffset, elems) };
}

/** The stack of an error that another thread or rank made says nothing; the caller's does. */
function atTheCall(error: HvdError): HvdError {
  Error.captureStackTrace(error, atTheCall);
  return error;
}

export function forEachPart(
  values: readonly Described[],
  byteOffset: number,
  act: (value: Described, at: number, index: number) => void,
): void {
  let at = byteOffset;
  for (const [index, value] of values.entries()) {
    act(value, at, index);
    at += value.bytes;
  }
}

export const run = <R>(submitted: Submitted<R>): R => start(submitted, true).synchronize();
export const launch = <R>(submitted: Submitted<R>): Handle<R> => start(submitted, false);
