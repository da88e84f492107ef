/**
 * Averages gradients over the ranks: copies them into buckets of shared memory, has each bucket reduced as soon as it is filled, and makes tensors of the results. Main thread.
 *
 * A gradient that is missing here goes as zeros; one that is missing on all ranks comes back as null. Buckets are made once for a list of variables and used again in every step.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { elemsOf } from '../dtype';
import { allocate, allreduceAloneAsync, type ReduceOptions, release, synchronize } from '../hvd';
import { currentEngine } from '../job';
import { type Bucket, makeBuckets } from './buckets';
import { copyTensorInto, tensorFrom } from './tensors';

interface Place {
  readonly bucket: Bucket;
  readonly array: Float32Array;
  readonly name: string;
}

export class GradientReducer {
  private places: Place[] = [];
  private signature = '';
  private madeFor: unknown;

  constructor(
    private readonly name: string,
    private readonly options: Pick<ReduceOptions, 'op' | 'prescaleFactor' | 'postscaleFactor'>,
  ) {}

  /** New tensors in the same order; null where no rank had a gradient. The arguments are left alone. */
  reduce(gradients: ReadonlyArray<tf.Tensor | null>, shapes: readonly number[][]): Array<tf.Tensor | null> {
    this.prepare(shapes);
    const handles = this.places.map(({ bucket, array, name }) => {
      for (const { variable, from, elems, flag } of bucket.slots) {
        const gradient = gradients[variable];
        const target = array.subarray(from, from + elems);
        if (gradient) copyTensorInto(gradient, target);
        else target.fill(0);
        array[flag] = gradient ? 1 : 0;
      }
      return allreduceAloneAsync(array, { ...this.options, name });
    });
    const reduced: Array<tf.Tensor | null> = Array(gradients.length).fill(null);
    for (const [i, { bucket, array }] of this.places.entries()) {
      synchronize(handles[i]!);
      for (const { variable, from, elems, flag } of bucket.slots) {
        if (array[flag]! > 0) reduced[variable] = tensorFrom(array.subarray(from, from + elems), shapes[variable]!, 'float32');
      }
    }
    return reduced;
  }

  dispose(): void {
    if (this.madeFor === this.engine()) for (const { array } of this.places) release(array);
    this.places = [];
    this.signature = '';
  }

  private prepare(shapes: readonly number[][]): void {
    const signature = JSON.stringify(shapes);
    if (signature === this.signature && this.madeFor === this.engine()) return;
    this.dispose();
    this.madeFor = currentEngine('DistributedOptimizer');
    this.signature = signature;
    // The number of variables is part of the name: two lists of variables trained in turn by one optimizer never meet under one name.
    this.places = makeBuckets(shapes.map(elemsOf)).map((bucket, i) => ({
      bucket,
      array: allocate(Float32Array, bucket.elems),
      name: `${this.name}.${shapes.length}.${i}`,
    }));
  }

  private engine(): unknown {
    try {
      return currentEngine('DistributedOptimizer');
    } catch {
      // Between shutdown() and init(): what was allocated went with the job.
      return undefined;
    }
  }
}
