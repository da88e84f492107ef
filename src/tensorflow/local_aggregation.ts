/**
 * Adds gradients up over several backward passes on this rank. Main thread. Gradients are keyed by their variable's name, which is unique in a process; their order is that of first sight.
 *
 * Invariant: the sums are kept tensors of its own until `take` hands them out or `dispose` is called.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { Tf } from './load';

export interface Named {
  readonly name: string;
  readonly tensor: tf.Tensor | null;
}

export class LocalAggregation {
  private sums = new Map<string, tf.Tensor | null>();
  private passes = 0;

  constructor(
    private readonly tfjs: Tf,
    private readonly passesPerStep: number,
    private readonly isAveraged: boolean,
  ) {}

  /** Whether this was the last pass of a step: then `take` the sums. */
  add(gradients: readonly Named[]): boolean {
    for (const { name, tensor } of gradients) {
      const sum = this.sums.get(name) ?? null;
      if (!tensor) {
        this.sums.set(name, sum);
        continue;
      }
      this.sums.set(
        name,
        this.tfjs.tidy(() => this.tfjs.keep(sum ? this.tfjs.add(sum, tensor) : this.tfjs.clone(tensor))),
      );
      sum?.dispose();
    }
    this.passes += 1;
    return this.passes >= this.passesPerStep;
  }

  /** The sums (or means) of the step; the caller disposes of them. */
  take(): Named[] {
    const step = [...this.sums].map(([name, sum]) => ({ name, tensor: sum }));
    this.sums = new Map();
    this.passes = 0;
    if (!this.isAveraged) return step;
    return step.map(({ name, tensor: sum }) => {
      const mean = sum && this.tfjs.tidy(() => this.tfjs.keep(this.tfjs.div(sum, this.passesPerStep)));
      sum?.dispose();
      return { name, tensor: mean };
    });
  }

  dispose(): void {
    for (const sum of this.sums.values()) sum?.dispose();
    this.sums = new Map();
    this.passes = 0;
  }
}
