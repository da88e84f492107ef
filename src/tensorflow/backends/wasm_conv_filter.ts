/**
 * The gradient of a convolution's filter on the wasm backend. Main thread. NHWC.
 *
 *   dFilter[i, j, ci, co] = Σ_{n,y,x} x[n, y·s + i − p, x·s + j − p, ci] · dy[n, y, x, co]
 *
 * is for each tap (i, j) a product of two matrices over the places, transposed from how both lie in memory. As a convolution in XNNPACK it needs three transpositions, and XNNPACK sorts all of dy as
 * it does weights; here tiles of both are laid out in panels as they are read, and the sums stay in registers (products_source.ts).
 */
import { infoOf } from './conv_info';
import { addressOf, heapFunctions, withScratch } from './simd/heap';
import { DY_LANES, type ProductsName, productsSources, X_LANES } from './simd/products_source';
import type { Kernel, KernelMaker, TensorInfo, WasmBackend } from './wasm_kernel';

const FLOAT_BYTES = 4;
/** Places of dy in a tile: its panel, and x's for it, fit the first-level cache of 32 KiB. */
const TILE_PLACES = 512;

const functionsOf = heapFunctions<ProductsName>(productsSources);

export interface Tiling {
  /** Whole images, or one. */
  readonly images: number;
  /** Rows of the output. */
  readonly rows: number;
}

/** How many images, or how many rows of one, are taken at a time. */
export function tilingOf(images: number, rows: number, columns: number): Tiling {
  const places = rows * columns;
  if (places <= TILE_PLACES) return { images: Math.min(images, Math.max(1, Math.floor(TILE_PLACES / places))), rows };
  return { images: 1, rows: Math.max(1, Math.floor(TILE_PLACES / columns)) };
}

export const conv2DBackpropFilter: KernelMaker = (tfjs): Kernel => {
  return ({ inputs, attrs, backend }) => {
    const { x, dy } = inputs as { x: TensorInfo; dy: TensorInfo };
    const info = infoOf(tfjs, x.shape, attrs.filterShape, dy.shape, attrs);
    const output = backend.makeOutput(attrs.filterShape, 'float32');
    filterGradient(backend, info, x, dy, output);
    return output;
  };
};

function filterGradient(backend: WasmBackend, info: ReturnType<typeof infoOf>, x: TensorInfo, dy: TensorInfo, output: TensorInfo): void {
  const { batchSize, inHeight, inWidth, inChannels, outHeight, outWidth, outChannels, filterHeight, filterWidth } = info;
  const { strideHeight, strideWidth, padInfo } = info;
  const functions = functionsOf(backend);
  const [xAt, dyAt, outputAt] = [x, dy, output].map((one) => addressOf(backend, one)) as [number, number, number];
  const taps = filterHeight * filterWidth;
  const [xPanels, dyPanels] = [Math.ceil(inChannels / X_LANES), Math.ceil(outChannels / DY_LANES)];
  const tiling = tilingOf(batchSize, outHeight, outWidth);
  // What a tile's places meet of the padded images.
  const columns = (outWidth - 1) * strideWidth + filterWidth;
  const rowsFor = (outRows: number): number => (outRows - 1) * strideHeight + filterHeight;
  const xPanelStep = tiling.images * rowsFor(tiling.rows) * columns * X_LANES * FLOAT_BYTES;
  const dyPanelStep = tiling.images * tiling.rows * outWidth * DY_LANES * FLOAT_BYTES;
  const blockBytes = X_LANES * DY_LANES * FLOAT_BYTES;
  const sumsBytes = dyPanels * taps * xPanels * blockBytes;
  const firstColumn = Math.max(0, padInfo.left);
  const pastColumn = Math.min(columns, inWidth + padInfo.left);

  /** Tile of x → panels, zeros where the image is padded. */
  const packX = (to: number, image: number, images: number, top: number, rows: number): void => {
    for (let n = 0; n < images; n += 1)
      for (let row = 0; row < rows; row += 1) {
        const inRow = top + row;
        if (inRow < 0 || inRow >= inHeight || pastColumn <= firstColumn) continue;
        const place = (n * rows + row) * columns + firstColumn;
        const from = ((image + n) * inHeight + inRow) * inWidth + firstColumn - padInfo.left;
        functions.packBy4(
          to + place * X_LANES * FLOAT_BYTES,
          xPanelStep,
          xAt + from * inChannels * FLOAT_BYTES,
          pastColumn - firstColumn,
          inChannels,
        );
      }
  };

  withScratch(backend, [sumsBytes, xPanels * xPanelStep, dyPanels * dyPanelStep], ([sums, xTile, dyTile]) => {
    functions.clear(sums!, sumsBytes);
    // Left over from elsewhere, the lanes beyond the channels could hold numbers that are slow to compute with; their sums are not read.
    functions.clear(dyTile!, dyPanels * dyPanelStep);
    for (let image = 0; image < batchSize; image += tiling.images) {
      const images = Math.min(tiling.images, batchSize - image);
      for (let y = 0; y < outHeight; y += tiling.rows) {
        const outRows = Math.min(tiling.rows, outHeight - y);
        const rows = rowsFor(outRows);
        const top = y * strideHeight - padInfo.top;
        functions.clear(xTile!, xPanels * xPanelStep);
        packX(xTile!, image, images, top, rows);
        const from = (image * outHeight + y) * outWidth;
        functions.packBy8(dyTile!, dyPanelStep, dyAt + from * outChannels * FLOAT_BYTES, images * outRows * outWidth, outChannels);
        const columnStep = strideWidth * X_LANES * FLOAT_BYTES;
        const rowSkip = (strideHeight * columns - outWidth * strideWidth) * X_LANES * FLOAT_BYTES;
        const imageSkip = (rows - outRows * strideHeight) * columns * X_LANES * FLOAT_BYTES;
        let block = sums!;
        for (let dyPanel = 0; dyPanel < dyPanels; dyPanel += 1)
          for (let i = 0; i < filterHeight; i += 1)
            for (let j = 0; j < filterWidth; j += 1) {
              const tap = (i * columns + j) * X_LANES * FLOAT_BYTES;
              for (let xPanel = 0; xPanel < xPanels; xPanel += 1, block += blockBytes)
                functions.addProducts(
                  block,
                  xTile! + xPanel * xPanelStep + tap,
                  dyTile! + dyPanel * dyPanelStep,
                  images,
                  outRows,
                  outWidth,
                  columnStep,
                  rowSkip,
                  imageSkip,
                );
            }
      }
    }
    for (let dyPanel = 0; dyPanel < dyPanels; dyPanel += 1)
      for (let tap = 0; tap < taps; tap += 1)
        functions.unpack(
          outputAt + (tap * inChannels * outChannels + dyPanel * DY_LANES) * FLOAT_BYTES,
          outChannels * FLOAT_BYTES,
          sums! + (dyPanel * taps + tap) * xPanels * blockBytes,
          inChannels,
          Math.min(DY_LANES, outChannels - dyPanel * DY_LANES),
        );
  });
}
