/**
 * `hvd.syncBatchNormalization`: batch normalisation over the batches of all ranks together. Main thread. It is TensorFlow.js's own layer but for training steps: these reduce, synchronously, the
 * sums of each channel, once on the way forward and once on the way back.
 *
 * Saved models name the layer BatchNormalization and hold its configuration, so that they load without this package and everywhere predict the same; loaded, it is the ordinary layer. Nothing is
 * registered for that reason: a class of the same name would take the place of the ordinary layer in every model that is loaded.
 *
 * Collectives are named by the layer, not by the step: ranks have the same layers, and a layer's calls come in the same order everywhere, since the tape of TensorFlow.js is run backwards in the
 * order in which it was written. Sums are float64: E[x²] − E[x]² in float32 loses a variance that is small beside its mean.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { layers } from '@tensorflow/tfjs-layers';
import { UsageError } from '../errors';
import { allreduce } from '../hvd';
import { memberSet, type ProcessSet } from '../process_set';
import { loadTf, type Tf } from './load';
import type { LayerVariable } from './variables';

type LayerArgs = NonNullable<Parameters<Tf['layers']['batchNormalization']>[0]>;
export interface SyncBatchNormalizationArgs extends LayerArgs {
  /** The ranks whose batches are normalised together, as of the optimizer. Default: all. Not saved. */
  processSet?: ProcessSet;
}

/** Of each channel: how many elements, and sum of x, sum of x². */
export interface Moments {
  readonly mean: Float64Array;
  readonly variance: Float64Array;
}
/** What a rank adds to the sums: the count, then Σx and Σx² of each channel, from its own mean and (biased) variance. Pure. */
export function sumsOf(count: number, mean: ArrayLike<number>, variance: ArrayLike<number>): Float64Array {
  const channels = mean.length;
  const sums = new Float64Array(1 + 2 * channels);
  sums[0] = count;
  for (let c = 0; c < channels; c += 1) {
    sums[1 + c] = count * mean[c]!;
    sums[1 + channels + c] = count * (variance[c]! + mean[c]! ** 2);
  }
  return sums;
}
/** Mean and biased variance of what was summed. Pure. */
export function momentsOf(sums: Float64Array): Moments {
  const channels = (sums.length - 1) / 2;
  const mean = sums.slice(1, 1 + channels).map((sum) => sum / sums[0]!);
  // Rounding may leave a constant channel a little below 0.
  const variance = sums.slice(1 + channels).map((sum, c) => Math.max(0, sum / sums[0]! - mean[c]! ** 2));
  return { mean, variance };
}

/** Members of tfjs's layer; its class is not exported. */
interface BatchNormalization extends layers.Layer {
  axis: number;
  momentum: number;
  epsilon: number;
  gamma?: LayerVariable;
  beta?: LayerVariable;
  movingMean: LayerVariable;
  movingVariance: LayerVariable;
  call(inputs: tf.Tensor | tf.Tensor[], kwargs: { training?: boolean }): tf.Tensor | tf.Tensor[];
}
type LayerClass = new (args: LayerArgs) => BatchNormalization;
type SyncClass = new (args: LayerArgs, processSet: ProcessSet | undefined) => BatchNormalization;
const classes = new WeakMap<Tf, SyncClass>();

function syncClass(tfjs: Tf): SyncClass {
  const existing = classes.get(tfjs);
  if (existing) return existing;
  // With a name, since making one up would count, and other layers' names would differ from a program without this package.
  const Plain = tfjs.layers.batchNormalization({ name: 'class' }).constructor as LayerClass;

  class SyncBatchNormalization extends Plain {
    constructor(
      args: LayerArgs,
      private readonly processSet: ProcessSet | undefined,
    ) {
      super(args);
    }

    override call(inputs: tf.Tensor | tf.Tensor[], kwargs: { training?: boolean }): tf.Tensor | tf.Tensor[] {
      const input = Array.isArray(inputs) ? inputs[0]! : inputs;
      // tfjs's layer refuses other ranks, in training and in inference.
      if (!kwargs.training || input.rank < 2 || input.rank > 4) return super.call(inputs, kwargs);
      return tfjs.tidy(() => {
        const x = input.dtype === 'float32' ? input : tfjs.cast(input, 'float32');
        const { y, mean, variance } = normalize(tfjs, x, {
          axis: this.axis >= 0 ? this.axis : this.axis + x.rank,
          epsilon: this.epsilon,
          gamma: this.gamma?.read(),
          beta: this.beta?.read(),
          reduce: (sums, way) => this.reduce(sums, way),
        });
        this.update(this.movingMean, mean);
        this.update(this.movingVariance, variance);
        return y;
      });
    }

    private reduce(sums: Float64Array, way: 'forward' | 'backward'): Float64Array {
      const { processSet } = this;
      if (memberSet('syncBatchNormalization', processSet).size() === 1) return sums;
      return allreduce(sums, { op: 'sum', name: `SyncBatchNormalization.${this.name}.${way}`, processSet });
    }

    /** In the same operations as tfjs's. */
    private update(moving: LayerVariable, value: Float64Array): void {
      tfjs.tidy(() => {
        const old = moving.read();
        const now = tfjs.tensor1d(Float32Array.from(value));
        moving.write(tfjs.sub(old, tfjs.mul(tfjs.sub(old, now), 1 - this.momentum)));
      });
    }
  }
  classes.set(tfjs, SyncBatchNormalization);
  return SyncBatchNormalization;
}

interface Normalization {
  readonly axis: number;
  readonly epsilon: number;
  readonly gamma?: tf.Tensor;
  readonly beta?: tf.Tensor;
  /** The sums over all ranks. */
  reduce(sums: Float64Array, way: 'forward' | 'backward'): Float64Array;
}

/**
 * y = γ · x̂ + β with x̂ = (x − mean) / √(variance + ε), mean and variance of all ranks' x (n elements a channel together).
 *
 * The gradients, with Σ over this rank and Σ* over all ranks:
 *   dβ = Σ dy,   dγ = Σ dy·x̂                                                       (of this rank)
 *   dx = γ / √(variance + ε) · (dy − Σ* dy / n − x̂ · Σ* dy·x̂ / n)
 * dx is the derivative of the SUM of the ranks' losses, not of their mean: the gradients that follow from it on each rank add up, over the ranks, to those of that sum, as those of β and γ do. So
 * an average over the ranks gives the gradients of the mean loss, and a sum those of the sum. (Ioffe & Szegedy 2015, section 3; as PyTorch's SyncBatchNorm, which is averaged too.)
 */
function normalize(tfjs: Tf, x: tf.Tensor, { axis, epsilon, gamma, beta, reduce }: Normalization) {
  const channels = x.shape[axis]!;
  const others = x.shape.map((_, i) => i).filter((i) => i !== axis);
  const broadcast = x.shape.map((n, i) => (i === axis ? n : 1));
  const wide = (one: tf.Tensor): tf.Tensor => tfjs.reshape(one, broadcast);
  const wideOf = (values: ArrayLike<number>): tf.Tensor => tfjs.tensor(Float32Array.from(values), broadcast);
  const read = (one: tf.Tensor): Float32Array => one.dataSync<'float32'>();
  let moments: Moments | undefined;

  const operation = tfjs.customGrad((...given) => {
    const save = given.pop() as unknown as (tensors: tf.Tensor[]) => void;
    // Made here, where nothing is recorded on the tape.
    const own = tfjs.moments(x, others);
    const sums = reduce(sumsOf(x.size / channels, read(own.mean), read(own.variance)), 'forward');
    const n = sums[0]!;
    moments = momentsOf(sums);
    const mean = wideOf(moments.mean);
    const inverse = wideOf(moments.variance.map((variance) => 1 / Math.sqrt(variance + epsilon)));
    const hat = (): tf.Tensor => tfjs.mul(tfjs.sub(x, mean), inverse);
    const scaled = gamma ? tfjs.mul(hat(), wide(gamma)) : hat();
    save([x, mean, inverse, ...(gamma ? [gamma] : [])]);
    return {
      value: beta ? tfjs.add(scaled, wide(beta)) : scaled,
      gradFunc(dy: tf.Tensor, saved: tf.Tensor[]) {
        const [input, center, factor, scale] = saved as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor | undefined];
        return tfjs.tidy(() => {
          const normal = tfjs.mul(tfjs.sub(input, center), factor);
          const ofDy = tfjs.sum(dy, others);
          const ofProduct = tfjs.sum(tfjs.mul(dy, normal), others);
          const all = reduce(Float64Array.of(...read(ofDy), ...read(ofProduct)), 'backward').map((sum) => sum / n);
          const rest = tfjs.sub(tfjs.sub(dy, wideOf(all.subarray(0, channels))), tfjs.mul(normal, wideOf(all.subarray(channels))));
          const dx = tfjs.mul(rest, scale ? tfjs.mul(factor, wide(scale)) : factor);
          return [dx, ...(gamma ? [ofProduct] : []), ...(beta ? [ofDy] : [])];
        });
      },
    };
  });
  const y = operation(...[x, ...(gamma ? [gamma] : []), ...(beta ? [beta] : [])]);
  return { y, ...moments! };
}

/**
 * tf.layers.batchNormalization, its arguments too, whose training steps normalise with mean and variance of all ranks' batches together (of different sizes, if need be) and update the moving averages
 * alike on all ranks. N ranks with batch b so train as one with batch N·b: with DistributedOptimizer, op average or sum, nothing needs to be scaled. Inference is the ordinary layer's: ranks may
 * predict and evaluate alone. Every rank has the layer under the same name (as they have when they make the same model; else give `name`) and runs the same training steps.
 *
 * Training steps are right for every `axis` and without `scale` or `center`; the inference of TensorFlow.js 4.22 is right on its cpu backend only where `axis` is the last one.
 *
 * Saved models hold an ordinary batch normalisation. To go on training a loaded one over all ranks, make the model anew and give it the loaded one's `getWeights()`.
 * @throws UsageError the arguments are no object; ProcessSetError, NotInitializedError, MismatchError, PeerError in training
 */
export function syncBatchNormalization(args: SyncBatchNormalizationArgs = {}): layers.Layer {
  if (typeof args !== 'object' || args === null)
    throw new UsageError(
      `syncBatchNormalization takes the arguments of tf.layers.batchNormalization, but was given ${args === null ? 'null' : typeof args}.`,
    );
  const { processSet, ...rest } = args;
  return new (syncClass(loadTf()))(rest, processSet) as layers.Layer;
}
