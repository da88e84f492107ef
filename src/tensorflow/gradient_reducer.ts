/**
 * Averages gradients over the ranks: copies them into buckets of shared memory, has each bucket reduced as soon as it is filled, and makes tensors of the results. Main thread.
 *
 * A gradient that is missing here goes as zeros; one that is missing on all ranks comes back as null. Buckets are made once for a list of variables and used again in every step.
 * Invariant: ranks whose lists differ get a MismatchError that shows both, never a wrong sum and never a wait: a bucket has one name whatever it holds, and the shapes of its variables
 * (and how many variables and buckets there are) are part of the call that the ranks compare.
 */
import { Compression, type Compressor, compressionOf, hasFeedback } from '../compression';
import { elemsOf } from '../dtype';
import { MismatchError, StepError } from '../errors';
import type { Handle } from '../handle';
import { allocate, poll, release, synchronize } from '../hvd';
import { currentEngine, isInitialized } from '../job';
import type { ProcessSet } from '../process_set';
import { launch } from '../submit';
import type { Described } from '../values';
import { type Groups, makeBuckets } from './buckets';
import { type Place, Reduction } from './reduction';

export interface ReducerOptions {
  readonly op: 'average' | 'sum' | 'adasum';
  readonly prescaleFactor: number;
  readonly postscaleFactor: number;
  readonly compression: Compressor;
  readonly processSet: ProcessSet;
}

/** The shapes are what the ranks compare. */
interface Part {
  readonly suffix: string;
  readonly op: 'average' | 'sum' | 'adasum';
  readonly compression: Compressor;
  readonly byteOffset: number;
  readonly described: readonly Described[];
}
interface FullPlace extends Place {
  /** One call for all of it; with Adasum, which is no sum, and a compressor that does not send all, one for the variables and one for the flags. */
  readonly parts: readonly Part[];
}

export class GradientReducer {
  private places: FullPlace[] = [];
  private signature = '';
  private madeFor: unknown;
  /** Counts mismatches: what was left in flight by one never meets what comes after. */
  private era = 0;

  /** Of a step that this rank has failed in: with the ranks that have not come to it yet. */
  private left: Array<Handle<number>> = [];

  /** @param what whose gradients they are, for messages @param name under which the ranks meet; another in every job */
  constructor(
    private readonly what: string,
    private readonly name: () => string,
    private readonly options: ReducerOptions,
  ) {}

  /**
   * Begins a step: give it the gradients, in any order. When that or its end fails, `abandon` it. Waits for what is left of one that has failed here.
   * @param shapes of the variables
   * @param kind how the ranks know their variables (ranks of different kinds do not meet); those known by names may have news
   * @param groups what is reduced together; default: what fits into a bucket
   */
  begin(shapes: ReadonlyArray<readonly number[]>, kind: 'list' | 'names', groups?: Groups): Reduction {
    this.awaitLeft();
    this.prepare(shapes, kind, groups);
    const { timeline } = currentEngine(this.what);
    return new Reduction(this.places, shapes, (place, copyingSinceUs) => this.launch(place, copyingSinceUs), kind === 'names', timeline);
  }

  dispose(): void {
    // Memory of what is under way stays the thread's.
    if (this.left.every((handle) => poll(handle)) && isInitialized() && this.madeFor === currentEngine(this.what))
      for (const { array } of this.places) release(array);
    this.forget();
  }

  private launch(place: number, copyingSinceUs: number): Array<Handle<number>> {
    const { prescaleFactor, postscaleFactor, processSet } = this.options;
    return this.places[place]!.parts.map(({ suffix, op, compression, byteOffset, described }) =>
      launch({
        kind: 'allreduce',
        values: described,
        fields: { op, prescale: prescaleFactor, postscale: postscaleFactor, compression: compressionOf(compression, 'float32') },
        options: { name: `${this.name()}.${this.era ? `${this.era}.` : ''}${place}${suffix}`, processSet },
        isGrouped: true,
        placed: byteOffset,
        copyingSinceUs,
        finish: (_block, { doneAtUs }) => doneAtUs,
      }),
    );
  }

  /** After a step has failed. @returns what to throw */
  abandon(step: Reduction, error: unknown): unknown {
    if (!step.isLost && !(error instanceof StepError)) {
      try {
        this.left = step.fail();
      } catch {
        // There is nobody to tell any more; the next step meets what ended this one.
        this.forget();
      }
      return error;
    }
    if (step.isLost) this.forget();
    if (!step.isLost || !(error instanceof MismatchError)) return error;
    this.era += 1;
    return new MismatchError(
      `${error.message} (The shapes of the variables from the last to the first, then how many flags, variables and buckets there are, then, of a group, which variables.) ` +
        `Give ${this.what} the same variables, in the same order, on every rank.`,
      error,
    );
  }

  private awaitLeft(): void {
    const { left } = this;
    this.left = [];
    if (this.madeFor !== currentEngine(this.what)) return;
    try {
      for (const handle of left) synchronize(handle);
    } catch (error) {
      this.forget();
      throw error;
    }
  }

  /** Calls may be in flight still, with peers that never come: their memory stays theirs. */
  private forget(): void {
    this.places = [];
    this.signature = '';
  }

  private prepare(shapes: ReadonlyArray<readonly number[]>, kind: string, groups?: Groups): void {
    const engine = currentEngine(this.what);
    const signature = JSON.stringify([kind, shapes, groups]);
    if (signature === this.signature && this.madeFor === engine) return;
    this.dispose();
    if (this.madeFor !== engine) this.era = 0;
    this.madeFor = engine;
    this.signature = signature;
    const buckets = makeBuckets(shapes.map(elemsOf), groups);
    const { op, compression } = this.options;
    const isWhole = op !== 'adasum' && !hasFeedback(compression);
    this.places = buckets.map((bucket) => {
      const array = allocate(Float32Array, bucket.elems);
      const part = (
        suffix: string,
        { op, compression }: Pick<Part, 'op' | 'compression'>,
        from: number,
        parts: ReadonlyArray<readonly number[]>,
      ): Part => ({
        suffix,
        op,
        compression,
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
      if (isWhole) return { bucket, array, parts: [part('', this.options, 0, [...values, ...rest])] };
      const flags = part('.flags', { op: 'sum', compression: Compression.none }, bucket.news - values.length, rest);
      return { bucket, array, parts: values.length > 0 ? [part('', this.options, 0, values), flags] : [flags] };
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
