/**
 * What lossy compressors keep from one call of a name to the next: for each tensor what it has not been able to send (error feedback), and what a codec begins with. Communication thread; one a generation,
 * so that it ends with the job.
 *
 * Kept by process set and name, and for calls of the same shapes, compressor, op and prescale factor only: another call of that name begins anew. All members of a set carry out the same calls in the same order,
 * those that have joined too, so that what is dropped when there is too much is the same on all of them.
 * Source: Karimireddy, Rebjock, Stich, Jaggi, "Error Feedback Fixes SignSGD and other Gradient Compression Schemes" (2019).
 */
import { bytesPerElem, elemsOf } from '../dtype';
import { log } from '../log';
import { type Call, callKey } from './call';

export interface Kept {
  /** One element for each of the call's, in the unit of what the ranks add: prescaled, of an average divided by the number of ranks. */
  readonly residual: Float32Array;
  /** By tensor: what PowerSGD's next step begins with, the same on every member. Small beside the residual. */
  readonly warm: Map<number, Float32Array>;
}

/** Of a process set: more names than a model has tensors, more bytes than fit a rank beside its model. */
const MOST_NAMES = 1024;
const MOST_BYTES = 2 ** 30;

interface Entry extends Kept {
  readonly signature: string;
}

export class Residuals {
  /** By process set, then by call; the one that was used last stands last. */
  private readonly sets = new Map<number, Map<string, Entry>>();
  private hasWarned = false;

  constructor(
    private readonly mostNames = MOST_NAMES,
    private readonly mostBytes = MOST_BYTES,
  ) {}

  /** Zeros at first. */
  of(call: Call): Kept {
    const { processSet, dtype, parts, compression, op, prescale } = call;
    const signature = JSON.stringify([dtype, parts, compression, op, prescale]);
    const entries = this.sets.get(processSet) ?? new Map<string, Entry>();
    this.sets.set(processSet, entries);
    const key = callKey(call);
    const found = entries.get(key);
    const entry =
      found?.signature === signature
        ? found
        : {
            signature,
            residual: new Float32Array(parts.reduce((sum, shape) => sum + elemsOf(shape), 0)),
            warm: new Map<number, Float32Array>(),
          };
    entries.delete(key);
    entries.set(key, entry);
    this.bound(entries);
    return entry;
  }

  /** The set is gone. */
  forget(processSet: number): void {
    this.sets.delete(processSet);
  }

  private bound(entries: Map<string, Entry>): void {
    let bytes = 0;
    for (const { residual } of entries.values()) bytes += residual.length * bytesPerElem('float32');
    for (const [oldest, { residual }] of entries) {
      if (entries.size === 1 || (entries.size <= this.mostNames && bytes <= this.mostBytes)) return;
      entries.delete(oldest);
      bytes -= residual.length * bytesPerElem('float32');
      if (this.hasWarned) continue;
      this.hasWarned = true;
      log(
        'WARNING',
        `What compressed allreduces have not sent yet is kept by name, of ${this.mostNames} names and ${this.mostBytes} bytes at most; that of '${oldest}' was dropped. Give a tensor the same name in every step.`,
      );
    }
  }
}
