/**
 * An allreduce of matrices by two thin factors each. Communication thread.
 *
 * M of a rank is its elements and its residual. P = M · Q, with the Q of the step before (the same on all ranks), is summed over the ranks and orthogonalised; Q = Mᵀ · P̂ is summed; the result is P̂ · Qᵀ, the sum of the M
 * projected onto the columns of P̂. A rank keeps M − P̂ · Q_ownᵀ: what of its own matrix lies beside those columns. Sums go by the ring in float32, all factors of a call in two of them; a tensor for which the factors would be no
 * smaller, as every vector's, travels whole with the first. Every rank computes the result from the same sums, in the same order.
 * With rank r, r · (rows + columns) elements travel instead of rows · columns. Source: Vogels et al. 2019 (collective/power_sgd.ts), algorithms 1 and 2.
 */
import { rangesOf } from '../collective/plan';
import { addProduct, firstQ, type LowRank, lowRankOf, orthogonalise, timesP, timesQ, warmed } from '../collective/power_sgd';
import { elemsOf } from '../dtype';
import type { Floats } from '../memory/int8';
import { addTo, drive, type Exchange, summed, takeOut } from './feedback_exchange';
import type { Kept } from './residuals';

interface Part {
  readonly from: number;
  readonly until: number;
  readonly matrix?: LowRank;
}

/** @param values this rank's, scaled; they become the sum @param shapes of the tensors that they are */
export async function powerSgdAllreduce(
  exchange: Exchange,
  values: Floats,
  { residual, warm }: Kept,
  shapes: ReadonlyArray<readonly number[]>,
  rank: number,
): Promise<void> {
  const parts: Part[] = rangesOf(shapes.map(elemsOf)).map((range, i) => ({ ...range, matrix: lowRankOf(shapes[i]!, rank) }));
  const matrices = parts.flatMap((part, i) => (part.matrix ? [{ ...part, matrix: part.matrix, key: i }] : []));
  await drive(addTo(residual, values));
  const owns = matrices.map(({ from, until }) => residual.subarray(from, until));
  const qs = matrices.map(({ matrix, key }) => warm.get(key) ?? firstQ(matrix));

  // What travels whole goes with the first factors.
  const firsts = await summed(
    exchange,
    parts.map(({ matrix, from, until }) => (matrix ? matrix.rows * matrix.rank : until - from)),
    async (i, room) => {
      const { matrix } = parts[i]!;
      const at = matrices.findIndex(({ key }) => key === i);
      if (matrix) await drive(timesQ(owns[at]!, matrix, qs[at]!, room));
      else takeOut(residual, parts[i]!, room);
    },
  );
  for (const { matrix, key } of matrices) orthogonalise(firsts[key]!, matrix);
  const ownQs: Float32Array[] = [];
  const seconds = await summed(
    exchange,
    matrices.map(({ matrix }) => matrix.columns * matrix.rank),
    async (at, room) => {
      const { matrix, key } = matrices[at]!;
      await drive(timesP(owns[at]!, matrix, firsts[key]!, room));
      ownQs.push(room.slice());
    },
  );

  values.fill(0);
  for (const [i, { matrix, from }] of parts.entries()) if (!matrix) values.set(firsts[i]!, from);
  for (const [at, { matrix, from, until, key }] of matrices.entries()) {
    const [p, q] = [firsts[key]!, seconds[at]!];
    if (!q.every(Number.isFinite)) {
      // All ranks see it in the same sums, and begin anew.
      values.fill(Number.NaN, from, until);
      residual.fill(0, from, until);
      warm.delete(key);
      continue;
    }
    await drive(addProduct(values.subarray(from, until), matrix, p, q, 1));
    await drive(addProduct(owns[at]!, matrix, p, ownQs[at]!, -1));
    warm.set(key, warmed(q, matrix));
  }
}
