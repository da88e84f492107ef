/** VGG (Simonyan and Zisserman, arXiv 1409.1556, configurations D and E) as tf_cnn_benchmarks builds it: three in four parameters are the first dense layer's. Pure. */
import { inputOf, type Layer, layer } from './graph';
import { biasedConvolution, classify, dense, dropout, maxPool } from './parts';

/** Of a block's 3×3 convolutions; max pooling follows a block. */
const blockFilters = [64, 128, 256, 512, 512];
export const vgg16Depths = [2, 2, 3, 3, 3];
export const vgg19Depths = [2, 2, 4, 4, 4];
const DENSE_UNITS = 4096;

/** [size, size, 3] → softmax over [classes]. */
export function vgg(depths: readonly number[], size: number, classes: number): Layer {
  let x = inputOf(size);
  for (const [i, filters] of blockFilters.entries()) {
    for (let j = 1; j <= depths[i]!; j += 1) x = biasedConvolution(`block${i + 1}_conv${j}`, x, { filters, window: 3 });
    x = maxPool(`block${i + 1}_pool`, x, 2, 2);
  }
  x = layer('flatten', { kind: 'flatten' }, x);
  for (const n of [1, 2]) x = dropout(`dropout${n}`, dense(`dense${n}`, x, DENSE_UNITS, 'relu'), 0.5);
  return classify(x, classes);
}
