/**
 * One step's gradients on their way: each is copied into its bucket when it is known (from a GPU: all of a bucket when its last is known), and a bucket leaves when it is full, whether backpropagation is over or not. Main thread.
 *
 * Invariants: what is in a bucket does not depend on when its gradients came, so the results' bits do not either. A variable is taken once. A step that fails on one rank before its last bucket
 * has left fails on every rank, and is applied on none.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { nowUs } from '../engine/clock';
import type { MainRecorder } from '../engine/timeline_main';
import { StepError } from '../errors';
import type { Handle } from '../handle';
import { synchronize } from '../hvd';
import type { Bucket } from './buckets';
import { loadTf } from './load';
import { copyTensorInto, copyTensorsInto, readsInBulk, tensorFrom } from './tensors';

export interface Reduced {
  /** New tensors, in the order of the variables; null where no rank had a gradient. */
  readonly tensors: Array<tf.Tensor | null>;
  /** A rank (this one too) has said that it has news. */
  readonly isNews: boolean;
}
/** When something was under way, in µs of `nowUs`. */
export interface Span {
  readonly fromUs: number;
  readonly toUs: number;
}
/** A bucket and the shared memory it lies in. */
export interface Place {
  readonly bucket: Bucket;
  readonly array: Float32Array;
}

/** A flag that is set: reduced with the gradients it is above 0 where one rank has set it. So large that no factor in use takes it below what fp16 can hold; infinite is as good. */
const YES = 2 ** 15;

const NONE = 0;
/** In the news flag: this rank has failed. Every sum with it is it. */
const FAILED = Number.NaN;

export class Reduction {
  /** By variable: its place and slot; taken out when its gradient has come. */
  private readonly awaited = new Map<number, { readonly place: number; readonly slot: Bucket['slots'][number] }>();
  private readonly missing: number[];
  /** Time spent on copying, by place. */
  private readonly copyingUs: number[];
  /** By place: gradients that are read together. */
  private readonly kept: Array<Array<{ readonly tensor: tf.Tensor; readonly target: Float32Array }>>;
  private readonly underWay: Array<{ readonly handles: ReadonlyArray<Handle<number>>; readonly fromUs: number } | undefined>;
  readonly spans: Span[] = [];

  /**
   * @param shapes of the variables
   * @param launch has a full bucket reduced; its handles end with when they were done
   * @param tellsNews the last bucket waits for `finish`, which knows whether there is any
   */
  constructor(
    private readonly places: readonly Place[],
    private readonly shapes: ReadonlyArray<readonly number[]>,
    private readonly launch: (place: number, copyingSinceUs: number) => ReadonlyArray<Handle<number>>,
    private readonly tellsNews: boolean,
    private readonly timeline?: MainRecorder,
  ) {
    for (const [place, { bucket }] of places.entries()) for (const slot of bucket.slots) this.awaited.set(slot.variable, { place, slot });
    this.missing = places.map(({ bucket }) => bucket.slots.length);
    this.copyingUs = places.map(() => 0);
    this.kept = places.map(() => []);
    this.underWay = places.map(() => undefined);
  }

  /** A call of it has failed, on all ranks that have made it: nothing more can come of the step. */
  isLost = false;

  /** The argument is left alone. @param gradient null: this rank has none */
  take(variable: number, gradient: tf.Tensor | null): void {
    const found = this.awaited.get(variable);
    if (!found) return;
    this.awaited.delete(variable);
    const { place, slot } = found;
    const { array } = this.places[place]!;
    const fromUs = nowUs();
    const target = array.subarray(slot.from, slot.from + slot.elems);
    if (!gradient) target.fill(0);
    else if (readsInBulk()) this.kept[place]!.push({ tensor: loadTf().keep(gradient.clone()), target });
    else copyTensorInto(gradient, target);
    array[slot.flag] = gradient ? YES : NONE;
    this.copyingUs[place]! += nowUs() - fromUs;
    this.missing[place]! -= 1;
    if (this.missing[place] === 0 && !(this.tellsNews && place === this.places.length - 1)) this.send(place, NONE);
  }

  /** Takes what has not come yet, and waits for all. @throws StepError another rank has failed; what its calls throw */
  finish(gradients: ReadonlyArray<tf.Tensor | null>, hasNews: boolean): Reduced {
    for (const { bucket } of this.places) for (const { variable } of bucket.slots) this.take(variable, gradients[variable]!);
    const last = this.places.length - 1;
    if (!this.underWay[last]) this.send(last, hasNews ? YES : NONE);
    const tensors: Array<tf.Tensor | null> = Array(this.shapes.length).fill(null);
    let hasFailed = false;
    try {
      for (const [i, { bucket, array }] of this.places.entries()) {
        const { handles, fromUs } = this.underWay[i]!;
        for (const handle of handles) this.spans.push({ fromUs, toUs: this.calling(() => synchronize(handle)) });
        hasFailed ||= Number.isNaN(array[bucket.news]);
        const copyingSinceUs = nowUs();
        for (const { variable, from, elems, flag } of bucket.slots) {
          if (array[flag]! > 0) tensors[variable] = tensorFrom(array.subarray(from, from + elems), [...this.shapes[variable]!], 'float32');
        }
        this.timeline?.copiedOut(copyingSinceUs);
      }
      if (hasFailed)
        throw new StepError(
          "Another rank failed in the middle of a training step, which was therefore applied on no rank. See that rank's own error; the next step of all ranks goes on from here.",
        );
    } catch (error) {
      for (const tensor of tensors) tensor?.dispose();
      throw error;
    }
    const { bucket, array } = this.places[last]!;
    return { tensors, isNews: array[bucket.news]! > 0 };
  }

  /**
   * This rank has failed: the rest leaves with that news, so that no rank waits for it, or applies what it has.
   * @returns what is under way; its places are free when all of it has ended
   */
  fail(): Array<Handle<number>> {
    for (const place of this.places.keys()) if (!this.underWay[place]) this.send(place, FAILED);
    return this.underWay.flatMap((one) => one!.handles);
  }

  private calling<R>(act: () => R): R {
    try {
      return act();
    } catch (error) {
      this.isLost = true;
      for (const place of this.kept.keys()) this.dropKept(place);
      throw error;
    }
  }

  private copyKept(place: number): void {
    const kept = this.kept[place]!;
    if (kept.length === 0) return;
    const fromUs = nowUs();
    try {
      copyTensorsInto(
        kept.map(({ tensor }) => tensor),
        kept.map(({ target }) => target),
      );
    } finally {
      this.dropKept(place);
    }
    this.copyingUs[place]! += nowUs() - fromUs;
  }

  private dropKept(place: number): void {
    for (const { tensor } of this.kept[place]!.splice(0)) tensor.dispose();
  }

  private send(place: number, news: number): void {
    if (Number.isNaN(news)) this.dropKept(place);
    else this.copyKept(place);
    const { bucket, array } = this.places[place]!;
    array[bucket.news] = news;
    const fromUs = nowUs();
    // A gradient came now and another then: shown as one copy that ends when they leave.
    this.underWay[place] = { handles: this.calling(() => this.launch(place, fromUs - this.copyingUs[place]!)), fromUs };
  }
}
