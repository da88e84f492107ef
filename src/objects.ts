/**
 * Objects between ranks, as MessagePack with extension types: typed arrays, ArrayBuffer, Map, Set, BigInt and Date come back as what they were, undefined as null. Main thread.
 *
 * Nothing received is ever executed, and nothing received decides which class is made: the extension types below are all there are. What cannot travel (functions, symbols,
 * instances of other classes) is a UsageError on the rank that gave it; the other ranks learn of it through the same collective and throw MismatchError.
 */
import { Decoder, Encoder, ExtensionCodec } from '@msgpack/msgpack';
import { HvdError, MismatchError, UsageError } from './errors';
import { allgather, broadcast } from './hvd';
import { rank } from './job';
import { memberSet } from './process_set';
import type { CollectiveOptions } from './submit';

const codec = new ExtensionCodec();
const encoder = new Encoder({ extensionCodec: codec });
const decoder = new Decoder({ extensionCodec: codec });

const arrayTypes = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
] as const;

/** Extension types 0 … 10: the typed arrays above, in this order; then these. */
const ARRAY_BUFFER = 20;
const MAP = 21;
const SET = 22;
const BIG_INT = 23;
const DATE = 24;

const bytesOf = (view: ArrayBufferView): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
/** A copy: what was received lies at any offset, typed arrays need theirs aligned. */
const ownBuffer = (bytes: Uint8Array): ArrayBuffer => bytes.slice().buffer as ArrayBuffer;
const nested = (value: unknown): Uint8Array => new Encoder({ extensionCodec: codec }).encode(value);
const unnested = (bytes: Uint8Array): unknown => new Decoder({ extensionCodec: codec }).decode(bytes);

for (const [type, array] of arrayTypes.entries()) {
  codec.register({
    type,
    encode: (value) => (value instanceof array ? bytesOf(value) : null),
    decode: (bytes) => new array(ownBuffer(bytes)),
  });
}
codec.register({ type: ARRAY_BUFFER, encode: (value) => (value instanceof ArrayBuffer ? new Uint8Array(value) : null), decode: ownBuffer });
codec.register({
  type: MAP,
  encode: (value) => (value instanceof Map ? nested([...value]) : null),
  decode: (bytes) => new Map(unnested(bytes) as Array<[unknown, unknown]>),
});
codec.register({
  type: SET,
  encode: (value) => (value instanceof Set ? nested([...value]) : null),
  decode: (bytes) => new Set(unnested(bytes) as unknown[]),
});
codec.register({
  type: BIG_INT,
  // The encoder never hands a primitive to an extension: `prepare` wraps BigInts in this.
  encode: (value) => (value instanceof WrappedBigInt ? Buffer.from(value.value.toString(16)) : null),
  decode: (bytes) => {
    const text = Buffer.from(bytes).toString();
    return text.startsWith('-') ? -BigInt(`0x${text.slice(1)}`) : BigInt(`0x${text}`);
  },
});
codec.register({
  type: DATE,
  encode: (value) => (value instanceof Date ? bytesOf(Float64Array.of(value.getTime())) : null),
  decode: (bytes) => new Date(new Float64Array(ownBuffer(bytes))[0]!),
});

class WrappedBigInt {
  constructor(readonly value: bigint) {}
}

const kept = [...arrayTypes, ArrayBuffer, Date];
const MAX_DEPTH = 100;

/** The value with BigInts wrapped and undefined made null. @throws UsageError something in it cannot travel: says what, and where */
function prepare(value: unknown, path: string, depth: number): unknown {
  if (depth > MAX_DEPTH)
    throw new UsageError(
      `The object is nested more than ${MAX_DEPTH} deep (or contains itself) at ${path.slice(0, 60)}…. Send a flatter one.`,
    );
  if (value === undefined || value === null) return null;
  if (typeof value === 'bigint') return new WrappedBigInt(value);
  if (typeof value === 'function' || typeof value === 'symbol')
    throw new UsageError(`A ${typeof value} cannot be sent (at ${path}). Send the data it works on.`);
  if (typeof value !== 'object' || kept.some((type) => value instanceof type)) return value;
  if (Array.isArray(value)) return Array.from(value, (item, i) => prepare(item, `${path}[${i}]`, depth + 1));
  if (value instanceof Map)
    return new Map(
      [...value].map(([key, item]) => [prepare(key, `${path} (a key)`, depth + 1), prepare(item, `${path}[${String(key)}]`, depth + 1)]),
    );
  if (value instanceof Set) return new Set([...value].map((item) => prepare(item, `${path} (an element)`, depth + 1)));
  const prototype = Object.getPrototypeOf(value);
  // A plain object's prototype is the root (of this realm or another) or nothing.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    throw new UsageError(
      `An instance of ${prototype.constructor?.name ?? 'a class'} cannot be sent (at ${path}). Send a plain object with its data.`,
    );
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, prepare(item, `${path}.${key}`, depth + 1)]));
}

/** One byte before the data: whether the rank's object could travel. */
const FINE = 1;
const REFUSED = 0;

function pack(value: unknown): { bytes: Uint8Array } | { refused: UsageError } {
  try {
    const encoded = encoder.encode(prepare(value, 'the object', 0));
    const bytes = new Uint8Array(encoded.length + 1);
    bytes[0] = FINE;
    bytes.set(encoded, 1);
    return { bytes };
  } catch (error) {
    return {
      refused:
        error instanceof UsageError ? error : new UsageError(`The object cannot be sent: ${(error as Error).message}.`, { cause: error }),
    };
  }
}

function unpack<T>(bytes: Uint8Array, from: number): T {
  if (bytes[0] === REFUSED)
    throw new MismatchError(`Rank ${from} gave an object that cannot travel (see its UsageError). Send plain data.`, { peer: from });
  try {
    return decoder.decode(bytes.subarray(1)) as T;
  } catch (error) {
    throw new HvdError(`The object of rank ${from} could not be read: ${(error as Error).message}.`, { peer: from, cause: error });
  }
}

const suffixed = (options: CollectiveOptions, suffix: string): CollectiveOptions =>
  options.name === undefined ? { ...options } : { ...options, name: `${options.name}.${suffix}` };

/**
 * The root's object, on every rank; what the others pass does not count. Two collectives: the size, then the bytes. Objects travel as MessagePack: plain objects, arrays, texts, numbers; typed arrays,
 * ArrayBuffer, Map, Set, BigInt and Date come back as what they were, undefined as null. Nothing received is executed.
 * @param rootRank a global rank (0), in a process set too
 * @throws UsageError (on the root; MismatchError on the others) the object holds a function, a symbol, an instance of another class, or is nested more than 100 deep; what broadcast throws
 */
export function broadcastObject<T>(object: T | undefined, rootRank = 0, options: CollectiveOptions = {}): T {
  const isRoot = rank() === rootRank;
  const packed = isRoot ? pack(object) : undefined;
  const own = packed && ('bytes' in packed ? packed.bytes : Uint8Array.of(REFUSED));
  const size = broadcast(Float64Array.of(own?.length ?? 0), rootRank, suffixed(options, 'sz'))[0]!;
  const bytes = broadcast(own ?? new Uint8Array(size), rootRank, suffixed(options, 't'));
  if (packed && 'refused' in packed) throw packed.refused;
  return unpack<T>(bytes, rootRank);
}

/**
 * Every rank's object, in rank order; what can travel is as with {@link broadcastObject}.
 * @throws UsageError (on the rank that gave it; MismatchError on the others) the object cannot travel; what allgather throws
 */
export function allgatherObject<T>(object: T, options: CollectiveOptions = {}): T[] {
  const packed = pack(object);
  const own = 'bytes' in packed ? packed.bytes : Uint8Array.of(REFUSED);
  const sizes = allgather(Float64Array.of(own.length), suffixed(options, 'sz'));
  const bytes = allgather(own, suffixed(options, 't'));
  if ('refused' in packed) throw packed.refused;
  const { ranks } = memberSet('allgatherObject', options.processSet);
  let at = 0;
  return Array.from(sizes, (size, position) => {
    at += size;
    return unpack<T>(bytes.subarray(at - size, at), ranks[position]!);
  });
}
