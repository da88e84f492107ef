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
import { allocate, release, synchronize } from '../hvd';
import { currentEngine, isInitialized } from '../job';
import type { ProcessSet } from '../process_set';
import { launch } from '../submit';
import type { Described } from '../values';
import { type Bucket, type Groups, makeBuckets } from './buckets';
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

export interface ReducerOptions {
  readonly op: 'average' | 'sum' | 'adasum';
  readonly prescaleFactor: number;
  readonly postscaleFactor: number;
  readonly compression: Compressor;
  readonly processSet: ProcessSet;
}

/** A flag that is set: reduced with the gradients it is above 0 where one rank has set it. So large that no factor in use takes it below what fp16 can hold; infinite is as good. */
const YES = 2 ** 15;

/** The shapes are what the ranks compare. */
interface Part {
  readonly suffix: string;
  readonly op: 'average' | 'sum' | 'adasum';
  readonly byteOffset: number;
  readonly described: readonly Described[];
}
interface Place {
  readonly bucket: Bucket;
  readonly array: Float32Array;
  /** One call for all of it; with Adasum, which is no sum, one for the variables and one for the flags. */
  readonly parts: readonly Part[];
}

export class GradientReducer {
  private places: Place[] = [];
  private signature = '';
  private madeFor: unknown;
  /** Counts mismatches: what was left in flight by one never meets what comes after. */
  private era = 0;

  constructor(
    private readonly name: string,
    private readonly options: ReducerOptions,
  ) {}

  /**
   * The arguments are left alone.
   * @param kind how the ranks know their variables; ranks of different kinds do not meet
   * @param groups what is reduced together; default: what fits into a bucket
   * @throws MismatchError the ranks have different variables; PeerError a rank is gone
   */
  reduce(gradients: readonly Gradient[], kind: 'list' | 'names', hasNews = false, groups?: Groups): Reduced {
    this.prepare(gradients, kind, groups);
    const handles: Array<Array<Handle<void>>> = [];
    const tensors: Array<tf.Tensor | null> = Array(gradients.length).fill(null);
    try {
      for (const [i, place] of this.places.entries()) handles.push(this.start(place, i, gradients, hasNews));
      for (const [i, { bucket, array }] of this.places.entries()) {
        for (const handle of handles[i]!) synchronize(handle);
        for (const { variable, from, elems, flag } of bucket.slots) {
          if (array[flag]! > 0)
            tensors[variable] = tensorFrom(array.subarray(from, from + elems), [...gradients[variable]!.shape], 'float32');
        }
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

  private start({ bucket, array, parts }: Place, index: number, gradients: readonly Gradient[], hasNews: boolean): Array<Handle<void>> {
    for (const { variable, from, elems, flag } of bucket.slots) {
      const { tensor } = gradients[variable]!;
      const target = array.subarray(from, from + elems);
      if (tensor) copyTensorInto(tensor, target);
      else target.fill(0);
      array[flag] = tensor ? YES : 0;
    }
    array[bucket.news] = hasNews ? YES : 0;
    const { prescaleFactor, postscaleFactor, compression, processSet } = this.options;
    return parts.map(({ suffix, op, byteOffset, described }) =>
      launch({
        kind: 'allreduce',
        values: described,
        fields: { op, prescale: prescaleFactor, postscale: postscaleFactor, compression: compressionOf(compression, 'float32') },
        options: { name: `${this.name}.${this.era ? `${this.era}.` : ''}${index}${suffix}`, processSet },
        isGrouped: true,
        placed: byteOffset,
        finish: () => undefined,
      }),
    );
  }

  /** The other buckets may be in flight still, with peers that never come: their memory stays theirs. */
  private abandon(error: unknown): unknown {
    this.places = [];
    this.signature = '';
    if (!(error instanceof MismatchError)) return error;
    this.era += 1;
    return new MismatchError(
      `${error.message} (The shapes of the variables in order, then how many flags, variables and buckets there are, then, of a group, which variables.) ` +
        'Give the optimizer the same variables, in the same order, on every rank.',
      error,
    );
  }

  private prepare(gradients: readonly Gradient[], kind: string, groups?: Groups): void {
    const engine = currentEngine('DistributedOptimizer');
    const shapes = gradients.map(({ shape }) => shape);
    const signature = JSON.stringify([kind, shapes, groups]);
    if (signature === this.signature && this.madeFor === engine) return;
    this.dispose();
    if (this.madeFor !== engine) this.era = 0;
    this.madeFor = engine;
    this.signature = signature;
    const buckets = makeBuckets(shapes.map(elemsOf), groups);
    const { op } = this.options;
    this.places = buckets.map((bucket) => {
      const array = allocate(Float32Array, bucket.elems);
      const part = (suffix: string, op: ReducerOptions['op'], from: number, parts: ReadonlyArray<readonly number[]>): Part => ({
        suffix,
        op,
        byteOffset: array.byteOffset + from * array.BYTES_PER_ELEMENT,
        described: parts.map(
          (shape): Described => ({
            value: array,
            dtype: 'float32',
            shape,
            bytes: elemsOf(shape) * array.BYTES_PER_ELEMENT,
            isTensor: false,
          }),
        ),
      });
      const variables = bucket.slots.map(({ variable }) => variable);
      const values = variables.map((variable) => shapes[variable]!);
      const counts = [kind === 'list' ? 1 : 2, shapes.length, buckets.length, 0];
      const rest = [[values.length + 1], counts, ...(Array.isArray(groups) ? shapesThatName(variables) : [])];
      if (op !== 'adasum') return { bucket, array, parts: [part('', op, 0, [...values, ...rest])] };
      const flags = part('.flags', 'sum', bucket.news - values.length, rest);
      return { bucket, array, parts: values.length > 0 ? [part('', op, 0, values), flags] : [flags] };
    });
  }
}

const MOST_AXES = 15;
/** Shapes of no elements: lists that name other variables of the same shapes must not meet. */
function shapesThatName(variables: readonly number[]): number[][] {
  return Array.from({ length: Math.ceil(variables.length / MOST_AXES) }, (_, i) => [
    ...variables.slice(i * MOST_AXES, (i + 1) * MOST_AXES),
    0,
  ]);
}
