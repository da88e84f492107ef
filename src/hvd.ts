/**
 * The collectives, as Horovod's users know them: every form, synchronous and asynchronous, on tensors and typed arrays (alltoall and reducescatter beside this file).
 *
 * Main thread. A call is checked here (UsageError at the call, on this rank only), its elements are copied into one block of the arena, the block is reduced, gathered or
 * overwritten there by the communication thread, and the result is copied out. Arrays from `allocate` live in the arena: with `inPlace` nothing is copied.
 */
import { Compression, type Compressor, checkedCompressor, compressionOf, hasFeedback } from './compression';
import { elemsOf, isFloat, type NumericArray } from './dtype';
import { isCompressible, reduceOps } from './engine/call';
import type { Engine } from './engine/engine';
import { UsageError } from './errors';
import { completed, completedHandle, type Handle, PendingHandle } from './handle';
import { currentEngine } from './job';
import { memberSet } from './process_set';
import { type CollectiveOptions, checkOptions, describeAll, forEachPart, launch, run, type Submitted, single } from './submit';
import { copyBack, describe, make, type Value, viewOf } from './values';

/** What a reduction does with the ranks' elements: one of the constants below, or its text. reducescatter has average and sum only. */
export type ReduceOp = 'average' | 'sum' | 'min' | 'max' | 'product' | 'adasum';
/** The sum divided by the number of ranks (of the process set), also when some have joined. Integers are divided in float64 and truncated. */
export const Average = 'average';
/** The sum, in the dtype of the value (integers wrap around). */
export const Sum = 'sum';
/** The smallest element. */
export const Min = 'min';
/** The largest element. */
export const Max = 'max';
/** The product. */
export const Product = 'product';
/** Of whole tensors, two by two: what they have in common is averaged, what is orthogonal is added (Maleki et al. 2020). float32 and float64, any number of ranks. */
export const Adasum = 'adasum';

/** Options of allreduce and reducescatter. All ranks give the same ones. */
export interface ReduceOptions extends CollectiveOptions {
  /** Default: average. */
  op?: ReduceOp;
  /** Default 1; integers are scaled in float64 and truncated. */
  prescaleFactor?: number;
  /** Default 1. */
  postscaleFactor?: number;
  /** In what form floats travel. Default: Compression.none. */
  compression?: Compressor;
  /** Typed arrays only: the result overwrites the argument, which is also returned. */
  inPlace?: boolean;
}

// ───── allreduce ─────

const reduceOptions = ['name', 'processSet', 'op', 'prescaleFactor', 'postscaleFactor', 'compression', 'inPlace'];

/** What the two kinds of reductions have in common: their fields and values, checked. */
export function checkedReduction(kind: 'allreduce' | 'reducescatter', values: readonly Value[], options: ReduceOptions) {
  const { op = 'average', prescaleFactor = 1, postscaleFactor = 1, compression = Compression.none } = options;
  const ops: readonly ReduceOp[] = kind === 'allreduce' ? reduceOps : ['average', 'sum'];
  if (!ops.includes(op)) throw new UsageError(`${kind} has no op '${op}'. It has ${ops.join(', ')}.`);
  for (const [name, factor] of Object.entries({ prescaleFactor, postscaleFactor })) {
    if (typeof factor !== 'number' || !Number.isFinite(factor))
      throw new UsageError(`${kind}: ${name} is a finite number, but was ${String(factor)}.`);
  }
  const compressor = checkedCompressor(compression, kind);
  const text = compressionOf(compressor, 'float32');
  if (text !== 'none' && !isCompressible({ kind, op }, text))
    throw new UsageError(
      hasFeedback(compressor)
        ? `${kind}: ${text} is for the ops sum and average of allreduce, not for ${op} of ${kind}. Leave compression out, or use fp16 or bf16.`
        : `${kind}: an ${op} is not compressed. Leave compression out, or use another op.`,
    );
  if (hasFeedback(compressor) && options.name === undefined)
    throw new UsageError(
      `${kind}: ${text} keeps what it could not send for the next call of the same name, but this call has none. Give it a name, the same one in every step.`,
    );
  const described = describeAll(kind, values);
  for (const { dtype } of described) {
    if (dtype === 'bool') throw new UsageError(`${kind}: a bool tensor cannot be reduced. Cast it to int32 first.`);
    if (op === 'adasum' && !isFloat(dtype))
      throw new UsageError(`${kind}: adasum is for float32 and float64, not ${dtype}. Use another op, or cast to float32 first.`);
  }
  const fields = {
    op,
    prescale: prescaleFactor,
    postscale: postscaleFactor,
    compression: compressionOf(compressor, described[0]?.dtype ?? 'uint8'),
  };
  return { described, fields };
}

function reduction<T extends Value>(values: readonly T[], options: ReduceOptions, isGrouped: boolean): Submitted<T[]> {
  const kind = 'allreduce';
  checkOptions(kind, options, reduceOptions);
  const { inPlace = false } = options;
  const { described, fields } = checkedReduction(kind, values, options);
  for (const { isTensor } of described) {
    if (inPlace && isTensor)
      throw new UsageError('allreduce: tensors are immutable, inPlace is for typed arrays. Leave it out, or pass the array.');
  }
  return {
    kind,
    values: described,
    fields,
    options,
    isGrouped,
    placed: inPlace && described.length === 1 ? placeOf(values[0]) : undefined,
    finish(block) {
      const results: Value[] = [];
      forEachPart(described, block.byteOffset, (one, at) => {
        const reduced = block.view(one.dtype, at, elemsOf(one.shape));
        if (!inPlace) results.push(make(one, reduced, one.shape));
        else {
          const target = one.value as NumericArray;
          if (target.byteOffset !== at || !isPlaced(target)) copyBack(reduced, target);
          results.push(target);
        }
      });
      return results as T[];
    },
  };
}

/**
 * post · (1/n, for an average) · op over the ranks of (pre · x). Same type, dtype and shape.
 * Op 'adasum' (float32 and float64) combines whole tensors: what the ranks have in common is averaged, what is one rank's alone is added.
 * Blocks until every rank of the set has called it.
 * @throws UsageError the value is bool or no tensor or typed array, or an option is wrong; NotInitializedError before `init()`; DuplicateNameError the name is in flight on this rank; ProcessSetError this rank is outside the set; MismatchError the ranks' calls differ; PeerError, StallError, ShutdownError a rank is gone, does not come, or has left
 */
export function allreduce<T extends Value>(value: T, options: ReduceOptions = {}): T {
  return run(single(reduction([value], options, false)));
}
/** {@link allreduce} without waiting; the handle gives its result. The value may be changed or disposed of at once, unless it is reduced `inPlace`. @throws at the call what allreduce throws there; the handle fails with the rest */
export function allreduceAsync<T extends Value>(value: T, options: ReduceOptions = {}): Handle<T> {
  return launch(single(reduction([value], options, false)));
}
/**
 * {@link allreduce} of several values as one: one negotiation, one fused operation (with 'adasum', one a tensor), never fused with anything else. All of one dtype, of any shapes; an empty list gives an empty list.
 * @throws UsageError the dtypes differ; what allreduce throws
 */
export function groupedAllreduce<T extends Value>(values: T[], options: ReduceOptions = {}): T[] {
  const submitted = reduction(values, options, true);
  return values.length === 0 ? [] : run(submitted);
}
/** {@link groupedAllreduce} without waiting. @throws at the call what groupedAllreduce throws there; the handle fails with the rest */
export function groupedAllreduceAsync<T extends Value>(values: T[], options: ReduceOptions = {}): Handle<T[]> {
  const submitted = reduction(values, options, true);
  return values.length === 0 ? completedHandle(options.name ?? 'allreduce.empty', []) : launch(submitted);
}

// ───── allgather, broadcast ─────

function gathering<T extends Value>(values: readonly T[], options: CollectiveOptions, isGrouped: boolean): Submitted<T[]> {
  const kind = 'allgather';
  checkOptions(kind, options, ['name', 'processSet']);
  const described = describeAll(kind, values);
  for (const { shape } of described) {
    if (shape.length === 0) throw new UsageError('allgather: a scalar has no axis 0 to be joined along. Reshape it to [1] first.');
  }
  return {
    kind,
    values: described,
    options,
    isGrouped,
    finish(_block, { outputs, rows }) {
      return described.map((one, part) => {
        const total = rows![part]!.reduce((sum, count) => sum + count, 0);
        return make(one, viewOf(one.dtype, outputs![part]!), [total, ...one.shape.slice(1)], true);
      }) as T[];
    },
  };
}

/**
 * Joins the ranks' values along axis 0, in rank order: shapes [n_r, …] give [Σ n_r, …] on every rank, of the same type and dtype. Axis 0 may differ between ranks (0 allowed), the other axes must agree.
 * @throws UsageError a scalar, or a value that is no tensor or typed array; NotInitializedError before `init()`; DuplicateNameError the name is in flight on this rank; ProcessSetError this rank is outside the set; MismatchError the ranks' calls differ; PeerError, StallError, ShutdownError a rank is gone, does not come, or has left
 */
export function allgather<T extends Value>(value: T, options: CollectiveOptions = {}): T {
  return run(single(gathering([value], options, false)));
}
/** {@link allgather} without waiting. @throws at the call what allgather throws there; the handle fails with the rest */
export function allgatherAsync<T extends Value>(value: T, options: CollectiveOptions = {}): Handle<T> {
  return launch(single(gathering([value], options, false)));
}
/** {@link allgather} of several values: one negotiation for all; each is joined by itself. All of one dtype; an empty list gives an empty list. @throws UsageError the dtypes differ; what allgather throws */
export function groupedAllgather<T extends Value>(values: T[], options: CollectiveOptions = {}): T[] {
  const submitted = gathering(values, options, true);
  return values.length === 0 ? [] : run(submitted);
}
/** {@link groupedAllgather} without waiting. @throws at the call what groupedAllgather throws there; the handle fails with the rest */
export function groupedAllgatherAsync<T extends Value>(values: T[], options: CollectiveOptions = {}): Handle<T[]> {
  const submitted = gathering(values, options, true);
  return values.length === 0 ? completedHandle(options.name ?? 'allgather.empty', []) : launch(submitted);
}

function broadcasting<T extends Value>(value: T, rootRank: number, options: CollectiveOptions): Submitted<T> {
  const kind = 'broadcast';
  checkOptions(kind, options, ['name', 'processSet']);
  const { ranks } = memberSet(kind, options.processSet);
  if (!ranks.includes(rootRank))
    throw new UsageError(
      options.processSet
        ? `broadcast: rootRank is a global rank of the process set, one of ${ranks.join(', ')}, but was ${String(rootRank)}.`
        : `broadcast: rootRank is a rank from 0 to ${ranks.length - 1}, but was ${String(rootRank)}.`,
    );
  const described = describe(value, kind);
  return {
    kind,
    values: [described],
    fields: { root: rootRank },
    options,
    finish: (block) => make(described, block.view(described.dtype, block.byteOffset, elemsOf(described.shape)), described.shape) as T,
  };
}

/**
 * The root's value, on every rank, as a new value of the same type, dtype and shape. All give one dtype and shape; what the others' values hold does not matter.
 * @param rootRank a global rank, in a process set too
 * @throws UsageError the root is no rank of the set, or the value is no tensor or typed array; NotInitializedError before `init()`; DuplicateNameError the name is in flight on this rank; ProcessSetError this rank is outside the set; MismatchError the ranks' calls differ; PeerError, StallError, ShutdownError a rank is gone, does not come, or has left
 */
export function broadcast<T extends Value>(value: T, rootRank: number, options: CollectiveOptions = {}): T {
  return run(broadcasting(value, rootRank, options));
}
/** {@link broadcast} without waiting. @throws at the call what broadcast throws there; the handle fails with the rest */
export function broadcastAsync<T extends Value>(value: T, rootRank: number, options: CollectiveOptions = {}): Handle<T> {
  return launch(broadcasting(value, rootRank, options));
}

// ───── handles ─────

function own<R>(handle: Handle<R>, what: string): PendingHandle<R> | undefined {
  if (handle instanceof PendingHandle) return handle as PendingHandle<R>;
  if (completed.has(handle)) return undefined;
  throw new UsageError(`${what} takes a handle that an asynchronous collective of this package has returned.`);
}
/** Whether `synchronize` would return at once. Does not wait. @throws UsageError it is no handle of this package */
export function poll(handle: Handle<unknown>): boolean {
  return own(handle, 'poll()')?.isDone ?? true;
}
/** Blocks until the handle's collective is complete, and returns its result; again: the same one. @throws what it failed with; UsageError it is no handle of this package */
export function synchronize<R>(handle: Handle<R>): R {
  const pending = own(handle, 'synchronize()');
  return pending ? pending.synchronize() : (completed.get(handle) as R);
}

// ───── memory ─────

/** The memory of a generation has one buffer object for each size it grew to. An array that outlived its generation counts as any other array. */
const arenaOf = new WeakMap<ArrayBufferLike, Engine>();
const isPlaced = (array: NumericArray): boolean => arenaOf.get(array.buffer) === currentEngine('inPlace');
const placeOf = (array: unknown): number | undefined =>
  ArrayBuffer.isView(array) && isPlaced(array as NumericArray) ? array.byteOffset : undefined;

/**
 * A typed array in the memory that the communication thread works on: `allreduce` on it with `inPlace` copies nothing. Zeros at first; valid until `release` or `shutdown`.
 * @param elems its length, in elements @throws UsageError the length is no whole number >= 0, or the type holds no numbers; HvdError the memory (4 GiB a rank) is full; NotInitializedError before `init()`
 */
export function allocate<T extends NumericArray>(type: new (elems: number) => T, elems: number): T {
  const engine = currentEngine('allocate()');
  const { arena } = engine;
  if (typeof type !== 'function')
    throw new UsageError(
      `allocate(): the first argument is the class of a typed array, like Float32Array, but was ${JSON.stringify(type)}.`,
    );
  const dtype = describe(new type(0), 'allocate()').dtype;
  if (!Number.isInteger(elems) || elems < 0) throw new UsageError(`allocate(): elems is a whole number >= 0, but was ${String(elems)}.`);
  const byteOffset = arena.allocate(elems * (type as unknown as { BYTES_PER_ELEMENT: number }).BYTES_PER_ELEMENT);
  const array = arena.view(dtype, byteOffset, elems);
  arenaOf.set(array.buffer, engine);
  (array as Float32Array).fill((dtype.endsWith('int64') ? 0n : 0) as number);
  return array as T;
}

/** Gives the memory of an array from `allocate` back. @throws UsageError it is none, or was given back before; NotInitializedError before `init()` */
export function release(array: NumericArray): void {
  const { arena } = currentEngine('release()');
  if (!isPlaced(array) || arena.sizeOf(array.byteOffset) === undefined)
    throw new UsageError('release(): the array is none that allocate() gave (or it was released before).');
  arena.release(array.byteOffset);
}
