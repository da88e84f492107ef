/**
 * Which calls that are ready together are carried out as one operation. Pure; coordinator, whose answer all ranks follow.
 *
 * Allreduces of one dtype, op, factors, compression and process set are fused while they fit the threshold together. As in Horovod, misfits are looked
 * past as long as what is fused and what was passed over fit the threshold together: further on the wait for what was passed over costs
 * more than an operation saved. They keep their order. Never fused: a call larger than the threshold, a grouped call, an Adasum (it looks
 * at a tensor as a whole), a compressor's that keeps a residual of each call, and one whose operands the coordinator holds already. With another neighbour a tensor is cut into other chunks, which are summed in another order;
 * whoever wants the same bits whatever else is pending makes a group, of one tensor if need be.
 */
import { bytesOfCall, type Call, isByElement } from './call';
import { keepsResidual } from './compressor';
import { listed } from './ranks';

/** The fusion region lies in an address space of 4 GiB. */
export const MOST_FUSED_BYTES = 2 ** 30;

export interface Ready {
  readonly call: Call;
  /** What every rank is told instead of a result. */
  readonly error?: object;
  /** Every member's, if they came with the requests. */
  readonly operands?: readonly Uint8Array[];
  /** Some have joined, and contribute zeros to this call. */
  readonly zeros?: Call;
}

export interface Batch<T extends Ready> {
  readonly items: readonly T[];
  /** A sentence for the log, made only if it is asked for. */
  readonly why: () => string;
}

/** Every item in one batch; the first of each batch in the order given. @param thresholdBytes 0: nothing is fused */
export function fuse<T extends Ready>(ready: readonly T[], thresholdBytes: number): Batch<T>[] {
  const mostBytes = Math.min(thresholdBytes, MOST_FUSED_BYTES);
  const batches: Batch<T>[] = [];
  let left = [...ready];
  while (left.length > 0) {
    const first = left[0]!;
    const obstacle = obstacleOf(first, mostBytes);
    if (obstacle) {
      batches.push({ items: [first], why: () => `'${first.call.name}' is carried out by itself: ${obstacle}.` });
      left.shift();
      continue;
    }
    const { items, skipped, until, bytes } = gather(left, mostBytes);
    batches.push({ items, why: () => reasonFor(items, bytes, mostBytes) });
    left = [...skipped, ...left.slice(until)];
  }
  return batches;
}

/** What goes with the first one; `until`: how far it was looked. */
function gather<T extends Ready>(ready: readonly T[], mostBytes: number) {
  const first = ready[0]!;
  const items = [first];
  const skipped: T[] = [];
  let bytes = bytesOfCall(first.call);
  let skippedBytes = 0;
  let until = 1;
  for (; until < ready.length; until += 1) {
    const next = ready[until]!;
    const nextBytes = bytesOfCall(next.call);
    if (!obstacleOf(next, mostBytes) && isAlike(next.call, first.call) && bytes + nextBytes <= mostBytes) {
      items.push(next);
      bytes += nextBytes;
    } else {
      if (bytes + skippedBytes + nextBytes > mostBytes) break;
      skipped.push(next);
      skippedBytes += nextBytes;
    }
  }
  return { items, skipped, until, bytes };
}

function obstacleOf({ call, error, operands, zeros }: Ready, mostBytes: number): string | undefined {
  if (error) return 'it has failed';
  if (zeros) return 'some ranks have joined';
  if (operands) return 'its operands came with the requests';
  if (!isByElement(call))
    return `${keepsResidual(call.compression) ? call.compression : call.kind === 'allreduce' ? call.op : call.kind} is not fused`;
  if (call.grouped) return 'a group is one operation already';
  if (mostBytes === 0) return 'the fusion threshold is 0';
  const bytes = bytesOfCall(call);
  return bytes > mostBytes ? `its ${bytes} bytes exceed the fusion threshold of ${mostBytes}` : undefined;
}

const isAlike = (a: Call, b: Call): boolean =>
  a.dtype === b.dtype &&
  a.op === b.op &&
  a.prescale === b.prescale &&
  a.postscale === b.postscale &&
  a.processSet === b.processSet &&
  a.compression === b.compression;

function reasonFor(items: readonly Ready[], bytes: number, mostBytes: number): string {
  const [{ call }] = items as [Ready];
  if (items.length === 1) return `'${call.name}' is carried out by itself: nothing that is ready with it fits it.`;
  const names = listed(items.map((item) => `'${item.call.name}'`));
  return `${names} are fused: allreduces (${call.op}, ${call.dtype}) with the same factors, ${bytes} of at most ${mostBytes} bytes.`;
}
