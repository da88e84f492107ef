/**
 * The shared memory of one optimizer that servers train: buckets as DistributedOptimizer has them (buckets.ts), each with room for its gradients in 16 bits when they travel so. Main thread.
 *
 * Invariant: the communication thread writes here until the optimizer is closed; only then is the memory released.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { elemsOf, type HalfFormat } from '../dtype';
import { allocate, release } from '../hvd';
import type { BucketPlace } from '../parameter_server/layout';
import { makeBuckets, valuesOf } from './buckets';
import type { Place } from './reduction';
import { copyTensorsInto, tensorFrom } from './tensors';

let optimizers = 0;
/** The number by which this process and its servers know an optimizer. */
export const nextOptimizer = (): number => ++optimizers;

/** As the communication thread knows a bucket. @param halves room for its gradients in 16 bits */
export const bucketPlaceOf = ({ bucket, array }: Place, halves?: Uint16Array): BucketPlace => ({
  byteOffset: array.byteOffset,
  elems: valuesOf(bucket),
  variables: bucket.slots.map(({ from, elems }) => ({ from, elems })),
  halvesOffset: halves?.byteOffset,
});

export class ServedBuckets {
  readonly places: readonly Place[];
  private readonly halves: ReadonlyArray<Uint16Array | undefined>;

  constructor(
    private readonly shapes: ReadonlyArray<readonly number[]>,
    compression: 'none' | HalfFormat,
  ) {
    this.places = makeBuckets(shapes.map(elemsOf)).map((bucket) => ({ bucket, array: allocate(Float32Array, bucket.elems) }));
    this.halves = this.places.map(({ bucket }) => (compression === 'none' ? undefined : allocate(Uint16Array, valuesOf(bucket))));
  }

  /** As the communication thread knows them. */
  get forThread(): BucketPlace[] {
    return this.places.map((place, i) => bucketPlaceOf(place, this.halves[i]));
  }

  /** By variable; where there is none `initial` stands. */
  fill(tensors: ReadonlyArray<tf.Tensor | undefined>, initial: number): void {
    for (const { bucket, array } of this.places) {
      const found = bucket.slots.flatMap(({ variable, from, elems }) => {
        const tensor = tensors[variable];
        const target = array.subarray(from, from + elems);
        if (!tensor) target.fill(initial);
        return tensor ? [{ tensor, target }] : [];
      });
      copyTensorsInto(
        found.map(({ tensor }) => tensor),
        found.map(({ target }) => target),
      );
    }
  }

  /** What lies there, by variable; the caller's. */
  tensors(): tf.Tensor[] {
    const tensors: tf.Tensor[] = [];
    for (const { bucket, array } of this.places)
      for (const { variable, from, elems } of bucket.slots)
        tensors[variable] = tensorFrom(array.subarray(from, from + elems), [...this.shapes[variable]!], 'float32');
    return tensors;
  }

  release(): void {
    for (const { array } of this.places) release(array);
    for (const array of this.halves) if (array) release(array);
  }
}
