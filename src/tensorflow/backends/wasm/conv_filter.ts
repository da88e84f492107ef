/**
 * The gradient of a convolution's filter on the wasm backend, divided among this rank's threads. Main thread. NHWC.
 *
 *   dFilter[i, j, ci, co] = Σ_{n,y,x} x[n, y·s + i − p, x·s + j − p, ci] · dy[n, y, x, co]
 *
 * is for each tap (i, j) a product of two matrices over the places, transposed from how both lie in memory. As a convolution in XNNPACK it needs three transpositions, and XNNPACK sorts all of dy as
 * it does weights; here tiles of both are laid out in panels as they are read, and the sums stay in registers (simd/products_source.ts). Threads take panels of dy: each lays out the tiles of x for itself.
 */
import { infoOf } from './conv_info';
import type { Kernel, KernelMaker, TensorInfo } from './kernel';
import { filterScratch, filterUnits } from './simd/filter_gradient';
import { addressesOf, withScratch } from './simd/heap';
import { divide, threadsOf } from './simd/thread_pool';

export const conv2DBackpropFilter: KernelMaker = (tfjs): Kernel => {
  return ({ inputs, attrs, backend }) => {
    const { x, dy } = inputs as { x: TensorInfo; dy: TensorInfo };
    const info = infoOf(tfjs, x.shape, attrs.filterShape, dy.shape, attrs);
    const geometry = { ...info, top: info.padInfo.top, left: info.padInfo.left };
    const output = backend.makeOutput(attrs.filterShape, 'float32');
    const bytes = filterScratch(geometry);
    withScratch(backend, [bytes.sums, threadsOf(backend) * bytes.xTile, bytes.dyTiles], ([sums, xTiles, dyTiles]) => {
      const [xAt, dyAt, outputAt] = addressesOf(backend, x, dy, output);
      const words = { ...geometry, x: xAt, dy: dyAt, output: outputAt, sums: sums!, xTiles: xTiles!, dyTiles: dyTiles! };
      divide(backend, 'filterGradient', filterUnits(geometry), words);
    });
    return output;
  };
};
