/**
 * Averages gradients over the ranks: copies them into buckets of shared memory, has each bucket reduced as soon as it is filled, and makes tensors of the results. Main thread.
 *
 * A gradient that is missing here goes as zeros; one that is missing on all ranks comes back as null. Buckets are made once for a list of variables and used again in every step.
 * Invariant: ranks whose lists differ get a MismatchError that shows both, never a wrong sum and never a wait: a bucket has one name whatever it holds, and the shapes of its variables
 * (and how many variables and buckets there are) are part of the call that the ranks compare.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { type Compressor, compressionOf } from '../compression';
import { elemsOf } from '../dtype';
import { MismatchError } from '../errors';
import type { Handle } from '../handle';
import { allocate, type ReduceOptions, release, synchronize } from '../hvd';
import { currentEngine, isInitialized } from '../job';
import { launch } from '../submit';
import type { Described } from '../values';
import { type Bucket, makeBuckets } from './buckets';
import { copyTensorInto, tensorFrom } from './tensors';

export interface Gradient {
  readonly tensor: tf.Tensor | null;
  /** The variable's. */
  readonly shape: readonly number[];
}
export interface Reduced {
  /** New tensors, in the order of the variables; null where no rank had a gradient. */
  readonly tensors: Array<tf.Tensor | null>;
  /** A rank (this one too) has said that it has news. */
  readonly isNews: boolean;
}

/** A flag that is set: reduced with the gradients it is above 0 where one rank has set it. So large that no factor in use takes it below what fp16 can hold; infinite is as good. */
const YES = 2 ** 15;

interface Place {
  readonly bucket: Bucket;
  readonly array: Float32Array;
  /** What the ranks compare: the variables' shapes, the flags, and one of no elements that counts variables and buckets. */
  readonly described: readonly Described[];
}

export class GradientReducer {
  private places: Place[] = [];
  private signature = '';
  private madeFor: unknown;
  /** Counts mismatches: what was left in flight by one never meets what comes after. */
  private era = 0;

  constructor(
    private readonly name: string,
    private readonly options: Pick<ReduceOptions, 'op' | 'prescaleFactor' | 'postscaleFactor'> & { readonly compression: Compressor },
  ) {}

  /**
   * The arguments are left alone.
   * @param kind how the ranks know their variables; ranks of different kinds do not meet
   * @throws MismatchError the ranks have different variables; PeerError a rank is gone
   */
  reduce(gradients: readonly Gradient[], kind: 'list' | 'names', hasNews = false): Reduced {
    this.prepare(gradients, kind);
    const { timeline } = currentEngine('DistributedOptimizer');
    const handles: Array<Handle<void>> = [];
    const tensors: Array<tf.Tensor | null> = Array(gradients.length).fill(null);
    try {
      for (const [i, place] of this.places.entries()) handles.push(this.start(place, i, gradients, hasNews));
      for (const [i, { bucket, array }] of this.places.entries()) {
        synchronize(handles[i]!);
        const fromUs = timeline?.nowUs();
        for (const { variable, from, elems, flag } of bucket.slots) {
          if (array[flag]! > 0)
            tensors[variable] = tensorFrom(array.subarray(from, from + elems), [...gradients[variable]!.shape], 'float32');
        }
        if (fromUs !== undefined) timeline?.copiedOut(fromUs);
      }
    } catch (error) {
      for (const tensor of tensors) tensor?.dispose();
      throw this.abandon(error);
    }
    const { bucket, array } = this.places[0]!;
    return { tensors, isNews: array[bucket.news]! > 0 };
  }

  dispose(): void {
    if (isInitialized() && this.madeFor === currentEngine('DistributedOptimizer')) for (const { array } of this.places) release(array);
    this.places = [];
    this.signature = '';
  }

  private start({ bucket, array, described }: Place, index: number, gradients: readonly Gradient[], hasNews: boolean): Handle<void> {
    const copyingSinceUs = currentEngine('DistributedOptimizer').timeline?.nowUs();
    for (const { variable, from, elems, flag } of bucket.slots) {
      const { tensor } = gradients[variable]!;
      const target = array.subarray(from, from + elems);
      if (tensor) copyTensorInto(tensor, target);
      else target.fill(0);
      array[flag] = tensor ? YES : 0;
    }
    array[bucket.news] = hasNews ? YES : 0;
    const { op = 'average', prescaleFactor = 1, postscaleFactor = 1, compression } = this.options;
    return launch({
      kind: 'allreduce',
      values: described,
      fields: {
        op: op as 'average',
        prescale: prescaleFactor,
        postscale: postscaleFactor,
        compression: compressionOf(compression, 'float32'),
      },
      options: { name: `${this.name}.${this.era ? `${this.era}.` : ''}${index}` },
      isGrouped: true,
      placed: array.byteOffset,
      copyingSinceUs,
      finish: () => undefined,
    });
  }

  /** The other buckets may be in flight still, with peers that never come: their memory stays theirs. */
  private abandon(error: unknown): unknown {
    this.places = [];
    this.signature = '';
    if (!(error instanceof MismatchError)) return error;
    this.era += 1;
    return new MismatchError(
      `${error.message} (The shapes of the variables in order, then how many flags, variables and buckets there are.) ` +
        'Give the optimizer the same variables, in the same order, on every rank.',
      error,
    );
  }

  private prepare(gradients: readonly Gradient[], kind: string): void {
    const engine = currentEngine('DistributedOptimizer');
    const shapes = gradients.map(({ shape }) => shape);
    const signature = JSON.stringify([kind, shapes]);
    if (signature === this.signature && this.madeFor === engine) return;
    this.dispose();
    if (this.madeFor !== engine) this.era = 0;
    this.madeFor = engine;
    this.signature = signature;
    const buckets = makeBuckets(shapes.map(elemsOf));
    this.places = buckets.map((bucket) => {
      const array = allocate(Float32Array, bucket.elems);
      const parts = bucket.slots.map(({ variable }) => shapes[variable]!);
      const flags = [parts.length + 1];
      const counts = [kind === 'list' ? 1 : 2, shapes.length, buckets.length, 0];
      const described = [...parts, flags, counts].map(
        (shape): Described => ({ value: array, dtype: 'float32', shape, bytes: elemsOf(shape) * array.BYTES_PER_ELEMENT, isTensor: false }),
      );
      return { bucket, array, described };
    });
  }
}
