/** A range of the gradient of max pooling, by images. Pure but for the heap; main thread and helpers. NHWC. */
import { dividedKernel } from './divided';
import { FLOAT_BYTES } from './floats';
import { type PoolName, poolSources } from './pool_source';

/** `top` and `left` are what the images are padded by; `windowHeight` and `windowWidth` count what a dilated window spans. */
export const maxPoolGradient = dividedKernel<
  | 'dx'
  | 'x'
  | 'dy'
  | 'inHeight'
  | 'inWidth'
  | 'outHeight'
  | 'outWidth'
  | 'channels'
  | 'windowHeight'
  | 'windowWidth'
  | 'strideHeight'
  | 'strideWidth'
  | 'top'
  | 'left',
  PoolName
>(
  [
    'dx',
    'x',
    'dy',
    'inHeight',
    'inWidth',
    'outHeight',
    'outWidth',
    'channels',
    'windowHeight',
    'windowWidth',
    'strideHeight',
    'strideWidth',
    'top',
    'left',
  ],
  poolSources,
  (functions, words, { first, past }) => {
    const { inHeight, inWidth, outHeight, outWidth, channels, windowHeight, windowWidth, strideHeight, strideWidth } = words;
    const placeBytes = channels * FLOAT_BYTES;
    const imageBytes = inHeight * inWidth * placeBytes;
    functions.clear(words.dx + first * imageBytes, (past - first) * imageBytes);
    let dy = words.dy + first * outHeight * outWidth * placeBytes;
    for (let n = first; n < past; n += 1) {
      for (let y = 0; y < outHeight; y += 1) {
        const top = y * strideHeight - words.top;
        const firstRow = Math.max(0, top);
        const rows = Math.min(inHeight, top + windowHeight) - firstRow;
        for (let column = 0; column < outWidth; column += 1, dy += placeBytes) {
          const left = column * strideWidth - words.left;
          const firstColumn = Math.max(0, left);
          const columns = Math.min(inWidth, left + windowWidth) - firstColumn;
          if (rows <= 0 || columns <= 0) continue;
          const offset = ((n * inHeight + firstRow) * inWidth + firstColumn) * placeBytes;
          functions.maxPoolGradient(
            words.dx + offset,
            words.x + offset,
            dy,
            channels,
            rows,
            columns,
            placeBytes,
            (inWidth - columns) * placeBytes,
          );
        }
      }
    }
  },
);
