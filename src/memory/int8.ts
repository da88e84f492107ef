/**
 * Vectors of floats as 8-bit integers and back, wherever they lie: slice by slice they pass through a part of the shared memory in which the kernels work. Any thread, its own part.
 *
 * Encoded, a vector is its scales (one a block of 256 elements; the last block may be shorter), then its codes. The functions are generators: at each yield so much work has been done (some
 * milliseconds at most) that the thread should look at its peers.
 */
import { bytesOf } from './arena';
import { BLOCK_ELEMS } from './int8_source';
import type { Kernels } from './kernels';

export type Floats = Float32Array | Float64Array;

const FLOAT_BYTES = 4;
const SLICE_ELEMS = 64 << 10;
const SLICE_BLOCKS = SLICE_ELEMS / BLOCK_ELEMS;
const TURN_ELEMS = 16 * SLICE_ELEMS;
/** What the codec needs of the memory. */
export const INT8_ROOM_BYTES = 2 * SLICE_ELEMS * FLOAT_BYTES + SLICE_BLOCKS * FLOAT_BYTES + SLICE_ELEMS;

const blocksOf = (elems: number): number => Math.ceil(elems / BLOCK_ELEMS);
export const int8BytesOf = (elems: number): number => blocksOf(elems) * FLOAT_BYTES + elems;

/** A vector and its encoded form agree in length. */
export interface Int8Codec {
  /** Of values + residual; the residual becomes what is lost, the values stay. */
  encode(values: Floats, residual: Float32Array, encoded: Uint8Array): Generator<void>;
  /** values = values + what is encoded. */
  add(values: Floats, encoded: Uint8Array): Generator<void>;
  /** values = what is encoded. */
  decode(values: Floats, encoded: Uint8Array): Generator<void>;
}

/** @param at where `INT8_ROOM_BYTES` bytes are free while a generator runs; a multiple of 4 */
export function makeInt8Codec(memory: WebAssembly.Memory, kernels: Kernels, at: number): Int8Codec {
  const { quantise, add, decode } = kernels.int8();
  const residualAt = at + SLICE_ELEMS * FLOAT_BYTES;
  const scalesAt = residualAt + SLICE_ELEMS * FLOAT_BYTES;
  const codesAt = scalesAt + SLICE_BLOCKS * FLOAT_BYTES;
  const floatsAt = (byteOffset: number): Float32Array => {
    const bytes = bytesOf(memory, byteOffset, SLICE_ELEMS * FLOAT_BYTES);
    return new Float32Array(bytes.buffer, byteOffset, SLICE_ELEMS);
  };
  const [slice, losses] = [floatsAt(at), floatsAt(residualAt)];
  const [scales, codes] = [bytesOf(memory, scalesAt, SLICE_BLOCKS * FLOAT_BYTES), bytesOf(memory, codesAt, SLICE_ELEMS)];

  function* bySlice(elems: number, act: (from: number, until: number, blocks: number) => void): Generator<void> {
    for (let from = 0; from < elems; from += SLICE_ELEMS) {
      if (from > 0 && from % TURN_ELEMS === 0) yield;
      const until = Math.min(elems, from + SLICE_ELEMS);
      act(from, until, blocksOf(until - from));
    }
  }
  /** The rest of its last block is zeros. */
  const bring = (from: Floats, to: Float32Array, blocks: number): void => {
    to.set(from);
    to.fill(0, from.length, blocks * BLOCK_ELEMS);
  };

  function read(values: Floats, encoded: Uint8Array, act: typeof decode): Generator<void> {
    const scalesBytes = blocksOf(values.length) * FLOAT_BYTES;
    return bySlice(values.length, (from, until, blocks) => {
      const place = values.subarray(from, until);
      if (act === add) bring(place, slice, blocks);
      const first = (from / BLOCK_ELEMS) * FLOAT_BYTES;
      scales.set(encoded.subarray(first, first + blocks * FLOAT_BYTES));
      codes.set(encoded.subarray(scalesBytes + from, scalesBytes + until));
      act(at, scalesAt, codesAt, blocks);
      place.set(slice.subarray(0, until - from));
    });
  }

  return {
    encode(values, residual, encoded) {
      const scalesBytes = blocksOf(values.length) * FLOAT_BYTES;
      return bySlice(values.length, (from, until, blocks) => {
        bring(values.subarray(from, until), slice, blocks);
        bring(residual.subarray(from, until), losses, blocks);
        quantise(at, residualAt, scalesAt, codesAt, blocks);
        residual.set(losses.subarray(0, until - from), from);
        encoded.set(scales.subarray(0, blocks * FLOAT_BYTES), (from / BLOCK_ELEMS) * FLOAT_BYTES);
        encoded.set(codes.subarray(0, until - from), scalesBytes + from);
      });
    },
    add: (values, encoded) => read(values, encoded, add),
    decode: (values, encoded) => read(values, encoded, decode),
  };
}
