/**
 * Allreduces by compressors that look at a tensor as a whole: what earlier calls of that name have left is added, each is exchanged in its own way, and what that has lost is kept. Communication thread.
 *
 * Invariants: all ranks end with the same bits, for what each reads of a tensor was made by one rank, or by the same arithmetic from the same numbers; sums are added in an order that depends on positions
 * alone. For sums and averages of floats; an average has been divided at the start, by each rank its own part. A float64 travels as the float32 that is nearest.
 */
import { arrayTypeOf, bytesPerElem, elemsOf } from '../dtype';
import { type Floats, type Int8Codec, makeInt8Codec } from '../memory/int8';
import type { Kernels } from '../memory/kernels';
import type { Call } from './call';
import { feedbackOf } from './compressor';
import type { Exchange } from './feedback_exchange';
import { int8Allreduce } from './int8_allreduce';
import { powerSgdAllreduce } from './power_sgd_allreduce';
import { Residuals } from './residuals';
import { topKAllreduce } from './top_k_allreduce';

export class FeedbackAllreduce {
  private readonly residuals = new Residuals();
  private codec?: Int8Codec;

  /** @param codecAt where the int8 codec has its room */
  constructor(
    private readonly memory: WebAssembly.Memory,
    private readonly kernels: Kernels,
    private readonly codecAt: number,
  ) {}

  async run(call: Call, exchange: Exchange): Promise<void> {
    const { operand } = exchange;
    const values = new (arrayTypeOf(call.dtype))(operand.buffer, operand.byteOffset, operand.length / bytesPerElem(call.dtype)) as Floats;
    const kept = this.residuals.of(call);
    const { residual } = kept;
    const feedback = feedbackOf(call.compression)!;
    switch (feedback.kind) {
      case 'int8':
        this.codec ??= makeInt8Codec(this.memory, this.kernels, this.codecAt);
        return int8Allreduce(exchange, values, residual, this.codec);
      case 'topK':
        return topKAllreduce(exchange, values, residual, call.parts.map(elemsOf), feedback.ratio);
      case 'powerSGD':
        return powerSgdAllreduce(exchange, values, kept, call.parts, feedback.rank);
    }
  }

  /** The process set is gone. */
  forget(processSet: number): void {
    this.residuals.forget(processSet);
  }
}
