/**
 * A training step whose computation is a wait: forward and backward pass take as long as a profile says, all else is real — gradients of true size in the buckets of DistributedOptimizer, negotiation, the
 * wire, servers and their optimizer. For hardware that cannot compute the network in reasonable time. Main thread.
 *
 * Each gradient becomes final when the profile's backward pass has reached it, and its bucket leaves when its last one has. What is not there: copies between tensors and buckets, the optimizer of a ring's
 * ranks (a GPU's, which takes milliseconds). Verified at every step: a sample of each bucket is set before it leaves and compared with what must come back.
 */
import { pause } from '../engine/boundary';
import type { Engine } from '../engine/engine';
import { HvdError } from '../errors';
import { allocate, groupedAllreduceAsync, synchronize } from '../hvd';
import { currentEngine } from '../job';
import type { ServerRequest } from '../parameter_server/client';
import type { Mode } from '../parameter_server/consistency';
import type { RuleSpec } from '../parameter_server/rules';
import { type Bucket, makeBuckets, valuesOf } from '../tensorflow/buckets';
import { bucketPlaceOf, nextOptimizer } from '../tensorflow/served_buckets';
import type { Compute } from './profiles';

export interface EmulatedSettings {
  /** Elements of each variable, in the order of the model. */
  readonly sizes: readonly number[];
  readonly compute: Compute;
  /** Computation takes so many times as long: links are slower by the same factor. */
  readonly slowDown: number;
  readonly strategy: 'none' | 'ring' | Mode;
  /** What servers apply. */
  readonly rule: RuleSpec;
  readonly learningRate: number;
}
export interface EmulatedTimes {
  readonly ms: number;
  /** Waited for what was still under way when the computation was over. */
  readonly exposedMs: number;
}

/** Elements of a bucket that are compared: one in so many. */
const SAMPLE_ELEMS = 4099;
const NAME = 'emulated';

interface Place {
  readonly bucket: Bucket;
  readonly array: Float32Array;
  /** When its last gradient is final, in ms from the begin of a step. */
  readonly dueMs: number;
}

export class EmulatedTraining {
  private readonly engine: Engine = currentEngine(NAME);
  /** In the order in which they leave. */
  private readonly places: readonly Place[];
  private readonly computeMs: number;
  private readonly number = nextOptimizer();
  private readonly name = `${NAME}.${this.number}`;
  private step = 0;

  /** Every rank makes one, of the same settings. Blocks until servers have what training begins with: zeros. */
  constructor(private readonly settings: EmulatedSettings) {
    const { sizes, compute, slowDown, strategy } = settings;
    const finalMs = finalTimes(compute).map((ms) => ms * slowDown);
    this.computeMs = Math.max(...finalMs);
    this.places = makeBuckets(sizes)
      .filter((bucket) => bucket.slots.length > 0)
      .map((bucket) => ({
        bucket,
        array: allocate(Float32Array, bucket.elems),
        dueMs: Math.max(...bucket.slots.map(({ variable }) => finalMs[variable]!)),
      }));
    if (typeof strategy === 'object') this.open(strategy);
  }

  /** Bytes of all gradients. */
  get bytes(): number {
    return 4 * this.settings.sizes.reduce((sum, elems) => sum + elems, 0);
  }

  /** @throws HvdError what came back is wrong */
  run(): EmulatedTimes {
    this.step += 1;
    const startMs = performance.now();
    const waits = this.places.map((place, i) => {
      sleepUntil(startMs + place.dueMs);
      this.mark(place);
      return this.send(place, i);
    });
    sleepUntil(startMs + this.computeMs);
    const computedMs = performance.now();
    for (const wait of waits) wait();
    const endMs = performance.now();
    this.check();
    return { ms: endMs - startMs, exposedMs: endMs - computedMs };
  }

  private send({ array }: Place, i: number): () => void {
    const { strategy, learningRate } = this.settings;
    if (strategy === 'none') return () => {};
    if (strategy === 'ring') {
      const handle = groupedAllreduceAsync([array], { name: `${this.name}.${i}`, inPlace: true });
      return () => void synchronize(handle);
    }
    return this.call({ kind: 'push', optimizer: this.number, bucket: i, step: this.step, learningRate });
  }

  private call(request: ServerRequest): () => void {
    const pending = this.engine.submitToServers(this.name, request);
    return () => {
      const { error } = this.engine.wait(pending);
      if (error) throw error;
    };
  }

  private open(mode: Mode): void {
    const { size, rank } = this.engine.config;
    const workers = Array.from({ length: size }, (_, one) => one);
    const buckets = this.places.map((place) => bucketPlaceOf(place));
    const spec = { name: this.name, mode, workers, rule: this.settings.rule, compression: 'none' as const };
    const gives = rank === 0;
    this.call({ kind: 'open', optimizer: this.number, spec, buckets, gives })();
    if (gives) this.call({ kind: 'values', optimizer: this.number, slot: 0, steps: 0, isLast: true })();
  }

  private mark({ bucket, array }: Place): void {
    const { rank } = this.engine.config;
    for (let i = 0; i < valuesOf(bucket); i += SAMPLE_ELEMS) array[i] = rank + 1;
    array.fill(1, valuesOf(bucket), bucket.news);
    array[bucket.news] = 0;
  }

  private check(): void {
    const expected = this.expected();
    if (expected === undefined) return;
    for (const { bucket, array } of this.places)
      for (let i = 0; i < valuesOf(bucket); i += SAMPLE_ELEMS)
        if (Math.abs(array[i]! - expected) > 1e-4 * Math.abs(expected))
          throw new HvdError(
            `Step ${this.step}: element ${i} of a bucket is ${array[i]}, but must be ${expected}. Please report it: what was measured is wrong.`,
          );
  }

  /** Undefined: it depends on the course of the others. */
  private expected(): number | undefined {
    const { strategy, rule, learningRate } = this.settings;
    const { size, rank } = this.engine.config;
    const average = (size + 1) / 2;
    if (strategy === 'none') return rank + 1;
    if (strategy === 'ring') return average;
    return strategy.kind === 'sync' && rule.kind === 'sgd' ? -learningRate * average * this.step : undefined;
  }
}

/** By variable: when its gradient is final, in ms from the begin of the step. */
export function finalTimes({ forwardMs, backwardMs }: Compute): number[] {
  const times = [...backwardMs];
  let now = forwardMs;
  for (let variable = backwardMs.length - 1; variable >= 0; variable -= 1) {
    now += backwardMs[variable]!;
    times[variable] = now;
  }
  return times;
}

function sleepUntil(ms: number): void {
  const left = ms - performance.now();
  if (left > 0) pause(left);
}
