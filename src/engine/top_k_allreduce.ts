/**
 * An allreduce in which of each tensor the largest elements travel, as indices and values; the others wait in the residual until they have grown. Communication thread.
 *
 * Each rank chooses by itself (of its elements and its residual), all gather all, and every rank adds them up in the order of positions: the same bits everywhere. What is chosen is sent as it is: nothing is rounded but the
 * sums. A tensor for which this would be no fewer bytes than the ring's travels whole, with what its residual holds.
 */
import { rangesOf } from '../collective/plan';
import { countOf, isWorthSelecting, selectLargest } from '../collective/top_k';
import { WireError } from '../errors';
import type { Floats } from '../memory/int8';
import { addTo, drive, type Exchange, gatherBytes, summed, takeOut } from './feedback_exchange';

const ITEM_BYTES = 8;

/** @param values this rank's, scaled; they become the sum @param lengths of the tensors that they are */
export async function topKAllreduce(
  exchange: Exchange,
  values: Floats,
  residual: Float32Array,
  lengths: readonly number[],
  ratio: number,
): Promise<void> {
  const ranks = exchange.seat.route.members.length;
  const tensors = rangesOf(lengths).map((range) => {
    const elems = range.until - range.from;
    return { ...range, elems, count: elems === 0 ? 0 : countOf(elems, ratio) };
  });
  const chosen = tensors.filter(({ elems, count }) => isWorthSelecting(elems, count, ranks));
  const whole = tensors.filter((one) => !chosen.includes(one));
  await drive(addTo(residual, values));
  const sums = await summed(
    exchange,
    whole.map(({ elems }) => elems),
    async (i, room) => takeOut(residual, whole[i]!, room),
  );

  const bytes = chosen.reduce((sum, { count }) => sum + count, 0) * ITEM_BYTES;
  const parts = await gatherBytes(exchange, Array<number>(ranks).fill(bytes), async (own) => {
    for (const { from, until, indices, items } of itemsOf(own, chosen)) {
      const left = residual.subarray(from, until);
      await drive(selectLargest(left, indices, items));
      for (const index of indices) left[index] = 0;
    }
  });
  values.fill(0);
  for (const [i, sum] of sums.entries()) values.set(sum, whole[i]!.from);
  for (const [position, part] of parts.entries())
    for (const { from, elems, indices, items } of itemsOf(part, chosen))
      for (let i = 0; i < indices.length; i += 1) {
        if (indices[i]! >= elems)
          throw new WireError(
            `Rank ${exchange.seat.route.members[position]} sent element ${indices[i]} of a tensor of ${elems}. Install the same version of khorovod on every host.`,
          );
        values[from + indices[i]!]! += items[i]!;
      }
}

/** Of each tensor its indices, then its values. */
function* itemsOf<T extends { readonly count: number }>(part: Uint8Array, tensors: readonly T[]) {
  let at = part.byteOffset;
  for (const tensor of tensors) {
    const { count } = tensor;
    yield { ...tensor, indices: new Uint32Array(part.buffer, at, count), items: new Float32Array(part.buffer, at + 4 * count, count) };
    at += count * ITEM_BYTES;
  }
}
