/**
 * ResNet (He et al., arXiv 1512.03385, version 1: the stride is in the first 1×1 convolution of a block) as tf_cnn_benchmarks builds it: convolutions before batch normalisation have no bias. Pure.
 */
import { inputOf, type Layer } from './graph';
import { add, type Convolution, classify, maxPool, mean, normalizedConvolution, pad, relu } from './parts';

/** Blocks of each stage. */
export const resnet50Depths = [3, 4, 6, 3];
export const resnet152Depths = [3, 8, 36, 3];
/** What the 3×3 convolutions of a stage put out; its blocks put out four times as many. */
const stageWidths = [64, 128, 256, 512];
const EXPANSION = 4;
const normalization = { momentum: 0.9, epsilon: 1e-5, hasGamma: true };

const convolve = (name: string, x: Layer, settings: Convolution): Layer => normalizedConvolution(name, x, settings, normalization);

function block(name: string, x: Layer, width: number, strides: number): Layer {
  const filters = width * EXPANSION;
  const shortcut = x.shape[2] === filters ? x : convolve(`${name}_shortcut`, x, { filters, window: 1, strides });
  let y = relu(`${name}_conv1_relu`, convolve(`${name}_conv1`, x, { filters: width, window: 1, strides }));
  y = relu(`${name}_conv2_relu`, convolve(`${name}_conv2`, y, { filters: width, window: 3 }));
  y = convolve(`${name}_conv3`, y, { filters, window: 1 });
  return relu(`${name}_relu`, add(`${name}_add`, shortcut, y));
}

/** [size, size, 3] → softmax over [classes]. */
export function resnet(depths: readonly number[], size: number, classes: number): Layer {
  // Padded the same on both sides; 'same' would put more behind the image than before it.
  const padded = pad('stem_pad', inputOf(size), 3);
  let x = relu('stem_relu', convolve('stem', padded, { filters: 64, window: 7, strides: 2, padding: 'valid' }));
  x = maxPool('stem_pool', x, 3, 2, 'same');
  for (const [stage, width] of stageWidths.entries())
    for (let i = 0; i < depths[stage]!; i += 1) x = block(`stage${stage + 1}_block${i + 1}`, x, width, i === 0 && stage > 0 ? 2 : 1);
  return classify(mean(x), classes);
}
