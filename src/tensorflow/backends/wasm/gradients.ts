/**
 * Gradients of operations that TensorFlow.js composes of many passes, in fewer, by kernels of ours. Main thread. Gradients are registered for all backends at once: on another backend, and where
 * a gradient is itself differentiated, they are the stock ones.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { Tf } from '../../load';
import { batchNormSums, reluGradient } from './passes';

/** Kernels that only gradients here ask for. */
export const ownKernels = { KhorovodBatchNormSums: batchNormSums, KhorovodReluGrad: reluGradient };

type Gradient = (dy: tf.Tensor, saved: tf.Tensor[], attrs: unknown) => Record<string, () => tf.Tensor>;

const makers: Record<string, (tfjs: Tf, stock: Gradient) => Gradient> = {
  FusedBatchNorm: batchNormGradient,
  Relu: (tfjs, stock) => (dy, saved, attrs) => {
    const [x] = saved as [tf.Tensor];
    if (!isOurs(tfjs) || x.dtype !== 'float32' || dy.dtype !== 'float32') return stock(dy, saved, attrs);
    return { x: () => run(tfjs, 'KhorovodReluGrad', { x, dy }) as tf.Tensor };
  },
};

export function registerGradients(tfjs: Tf): void {
  for (const [kernelName, make] of Object.entries(makers)) {
    const stock = tfjs.getGradient(kernelName);
    if (!stock) continue;
    tfjs.unregisterGradient(kernelName);
    tfjs.registerGradient({ ...stock, gradFunc: make(tfjs, stock.gradFunc as Gradient) as never });
  }
}

/** While a gradient is differentiated, its own operations are recorded. */
const isOurs = (tfjs: Tf): boolean =>
  tfjs.getBackend() === 'wasm' && (tfjs.engine() as unknown as { state: { gradientDepth: number } }).state.gradientDepth === 0;

const run = (tfjs: Tf, name: string, inputs: tf.NamedTensorMap): tf.Tensor | tf.Tensor[] => tfjs.engine().runKernel(name, inputs as never);

/**
 * y = (x − mean) · r · scale + offset, r = 1 / √(variance + ε), a mean and a variance for each channel. With S = Σ dy and Q = Σ dy · (x − mean):
 *
 *   dx = dy · r · scale,  dOffset = S,  dScale = Q · r,  dMean = −S · r · scale,  dVariance = −½ · Q · r³ · scale
 */
function batchNormGradient(tfjs: Tf, stock: Gradient): Gradient {
  return (dy, saved, attrs) => {
    const [x, mean, variance, scale] = saved as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor | undefined];
    if (!isOurs(tfjs) || mean.rank !== 1 || x.dtype !== 'float32') return stock(dy, saved, attrs);
    const { varianceEpsilon } = attrs as { varianceEpsilon: number };
    const [sum, product] = run(tfjs, 'KhorovodBatchNormSums', { x, dy, mean }) as [tf.Tensor, tf.Tensor];
    const root = tfjs.rsqrt(tfjs.add(variance, varianceEpsilon));
    const factor = scale ? tfjs.mul(root, scale) : root;
    return {
      x: () => tfjs.mul(dy, factor),
      mean: () => tfjs.neg(tfjs.mul(sum, factor)),
      variance: () => tfjs.mul(tfjs.mul(tfjs.mul(product, factor), tfjs.square(root)), -0.5),
      scale: () => tfjs.mul(product, root),
      offset: () => tfjs.clone(sum),
    };
  };
}
