/**
 * An allreduce whose floats travel in 8 bits, with a scale for each block of 256. Communication thread.
 *
 * Each rank owns a part of whole blocks. It quantises the others' parts (of its elements and its residual) and sends each to its owner; the owner adds them to its own, which it has not rounded, in the order of
 * positions, with its residual quantises the sum once, and all gather the parts. Both roundings leave what they lose in a residual, the second in the owner's, in the same unit: it is sent with the next call.
 * On the wire are 2(N−1)/N · n · (1 + 4/256) bytes a rank, 0.254 of the ring's with float32.
 *
 * Error with residuals of 0, per element: at most Σ s_i / 2 over the ranks but the owner, and s / 2 for the sum, where s_i and s are the block's scales max|v| / 127; beside it float32's own roundings.
 * Over calls the errors do not add up: the sum of T results is off by no more than the residuals of the last.
 */
import { partOf, type Range, rangesOf } from '../collective/plan';
import { type Floats, type Int8Codec, int8BytesOf } from '../memory/int8';
import { BLOCK_ELEMS } from '../memory/int8_source';
import { drive, type Exchange, exchangeBytes, gatherBytes } from './feedback_exchange';

/** Whole blocks for each position, but for the last block. */
function ownedBy(elems: number, positions: number): Range[] {
  const blocks = { from: 0, until: Math.ceil(elems / BLOCK_ELEMS) };
  return Array.from({ length: positions }, (_, position) => {
    const { from, until } = partOf(blocks, position, positions);
    return { from: from * BLOCK_ELEMS, until: Math.min(elems, until * BLOCK_ELEMS) };
  });
}

/** @param values this rank's, scaled; they become the sum */
export async function int8Allreduce(exchange: Exchange, values: Floats, residual: Float32Array, codec: Int8Codec): Promise<void> {
  const { seat } = exchange;
  const owned = ownedBy(values.length, seat.route.members.length);
  const place = ({ from, until }: Range): Floats => values.subarray(from, until);
  const residualOf = ({ from, until }: Range): Float32Array => residual.subarray(from, until);
  const own = owned[seat.position]!;
  const encodedBytes = owned.map(({ from, until }) => int8BytesOf(until - from));
  const toEach = encodedBytes.map((bytes, position) => (position === seat.position ? 0 : bytes));
  const fromEach = toEach.map((_, position) => (position === seat.position ? 0 : encodedBytes[seat.position]!));

  const outgoing = new Uint8Array(toEach.reduce((sum, bytes) => sum + bytes, 0));
  for (const [position, { from, until }] of rangesOf(toEach).entries())
    if (position !== seat.position)
      await drive(codec.encode(place(owned[position]!), residualOf(owned[position]!), outgoing.subarray(from, until)));
  const received = await exchangeBytes(exchange, outgoing, toEach, fromEach);
  for (const [position, encoded] of received.entries()) if (position !== seat.position) await drive(codec.add(place(own), encoded));
  const parts = await gatherBytes(exchange, encodedBytes, (encoded) => drive(codec.encode(place(own), residualOf(own), encoded)));
  for (const [position, encoded] of parts.entries()) await drive(codec.decode(place(owned[position]!), encoded));
}
