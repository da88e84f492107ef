/**
 * Inception-v4 (Szegedy et al., arXiv 1602.07261, figures 3 to 9) as tf_cnn_benchmarks builds it: convolutions have no bias, their batch normalisation no γ. Pure.
 *
 * A module is a list of columns on the same input, whose outputs are concatenated; a column is a list of convolutions, pooling first where there is any.
 */
import { inputOf, type Layer } from './graph';
import { averagePool, type Convolution, classify, concatenate, dropout, maxPool, mean, normalizedConvolution, relu } from './parts';

const normalization = { momentum: 0.999, epsilon: 1e-3, hasGamma: false };
const convolve = (name: string, x: Layer, settings: Convolution): Layer =>
  relu(`${name}_relu`, normalizedConvolution(name, x, settings, normalization));

const conv = (filters: number, window: Convolution['window']): Convolution => ({ filters, window });
/** 3×3, only where the whole window fits. */
const inner = (filters: number, strides: number): Convolution => ({ filters, window: 3, strides, padding: 'valid' });

type Step = Convolution | 'maxPool' | 'averagePool';
function column(name: string, x: Layer, steps: readonly Step[]): Layer {
  let y = x;
  for (const [i, step] of steps.entries()) {
    if (step === 'maxPool') y = maxPool(`${name}_pool`, y, 3, 2);
    else if (step === 'averagePool') y = averagePool(`${name}_pool`, y, 3);
    else y = convolve(`${name}_conv${i + 1}`, y, step);
  }
  return y;
}
const inceptionModule = (name: string, x: Layer, ...columns: ReadonlyArray<readonly Step[]>): Layer =>
  concatenate(`${name}_concat`, ...columns.map((steps, i) => column(`${name}_column${i + 1}`, x, steps)));

function stem(images: Layer): Layer {
  let x = convolve('stem_conv1', images, inner(32, 2));
  x = convolve('stem_conv2', x, inner(32, 1));
  x = convolve('stem_conv3', x, conv(64, 3));
  x = inceptionModule('stem1', x, ['maxPool'], [inner(96, 2)]);
  x = inceptionModule('stem2', x, [conv(64, 1), inner(96, 1)], [conv(64, 1), conv(64, [7, 1]), conv(64, [1, 7]), inner(96, 1)]);
  return inceptionModule('stem3', x, [inner(192, 2)], ['maxPool']);
}

const a = (name: string, x: Layer): Layer =>
  inceptionModule(
    name,
    x,
    ['averagePool', conv(96, 1)],
    [conv(96, 1)],
    [conv(64, 1), conv(96, 3)],
    [conv(64, 1), conv(96, 3), conv(96, 3)],
  );

const reductionA = (x: Layer): Layer =>
  inceptionModule('reduction_a', x, ['maxPool'], [inner(384, 2)], [conv(192, 1), conv(224, 3), inner(256, 2)]);

const b = (name: string, x: Layer): Layer =>
  inceptionModule(
    name,
    x,
    ['averagePool', conv(128, 1)],
    [conv(384, 1)],
    [conv(192, 1), conv(224, [1, 7]), conv(256, [7, 1])],
    [conv(192, 1), conv(192, [1, 7]), conv(224, [7, 1]), conv(224, [1, 7]), conv(256, [7, 1])],
  );

const reductionB = (x: Layer): Layer =>
  inceptionModule(
    'reduction_b',
    x,
    ['maxPool'],
    [conv(192, 1), inner(192, 2)],
    [conv(256, 1), conv(256, [1, 7]), conv(320, [7, 1]), inner(320, 2)],
  );

/** The last two columns end in two convolutions side by side. */
function c(name: string, x: Layer): Layer {
  const third = convolve(`${name}_column3_conv1`, x, conv(384, 1));
  const fourth = column(`${name}_column4`, x, [conv(384, 1), conv(448, [1, 3]), conv(512, [3, 1])]);
  return concatenate(
    `${name}_concat`,
    column(`${name}_column1`, x, ['averagePool', conv(256, 1)]),
    column(`${name}_column2`, x, [conv(256, 1)]),
    convolve(`${name}_column3_wide`, third, conv(256, [1, 3])),
    convolve(`${name}_column3_high`, third, conv(256, [3, 1])),
    convolve(`${name}_column4_high`, fourth, conv(256, [3, 1])),
    convolve(`${name}_column4_wide`, fourth, conv(256, [1, 3])),
  );
}

/** [size, size, 3] → softmax over [classes]. */
export function inceptionV4(size: number, classes: number): Layer {
  let x = stem(inputOf(size));
  for (let i = 1; i <= 4; i += 1) x = a(`a${i}`, x);
  x = reductionA(x);
  for (let i = 1; i <= 7; i += 1) x = b(`b${i}`, x);
  x = reductionB(x);
  for (let i = 1; i <= 3; i += 1) x = c(`c${i}`, x);
  return classify(dropout('dropout', mean(x), 0.2), classes);
}
