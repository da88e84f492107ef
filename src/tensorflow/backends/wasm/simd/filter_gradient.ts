/**
 * A range of the gradient of a convolution's filter, by panels of eight output channels. Pure but for the heap; main thread and helpers. The layout is told in ../conv_filter.ts.
 */
import { dividedKernel } from './divided';
import { FLOAT_BYTES } from './floats';
import { DY_LANES, type ProductsName, productsSources, X_LANES } from './products_source';

const BLOCK_BYTES = X_LANES * DY_LANES * FLOAT_BYTES;
/** Places of dy in a tile: its panel, and x's for it, fit the first-level cache of 32 KiB. */
const TILE_PLACES = 512;

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

const geometryWords = [
  'batchSize',
  'inHeight',
  'inWidth',
  'inChannels',
  'outHeight',
  'outWidth',
  'outChannels',
  'filterHeight',
  'filterWidth',
  'strideHeight',
  'strideWidth',
  'top',
  'left',
] as const;
/** Of a convolution; `top` and `left` are what the image is padded by. */
export type FilterGeometry = Readonly<Record<(typeof geometryWords)[number], number>>;

/** Bytes of what a part works in, and the steps in it. */
function layoutOf(geometry: FilterGeometry) {
  const { batchSize, inChannels, outHeight, outWidth, outChannels, filterHeight, filterWidth, strideHeight, strideWidth } = geometry;
  const [xPanels, dyPanels] = [Math.ceil(inChannels / X_LANES), Math.ceil(outChannels / DY_LANES)];
  const tiling = tilingOf(batchSize, outHeight, outWidth);
  // What a tile's places meet of the padded images.
  const columns = (outWidth - 1) * strideWidth + filterWidth;
  const rowsFor = (outRows: number): number => (outRows - 1) * strideHeight + filterHeight;
  const xPanelStep = tiling.images * rowsFor(tiling.rows) * columns * X_LANES * FLOAT_BYTES;
  const dyPanelStep = tiling.images * tiling.rows * outWidth * DY_LANES * FLOAT_BYTES;
  return { xPanels, dyPanels, tiling, columns, rowsFor, xPanelStep, dyPanelStep };
}

/** Panels of eight output channels: what is divided. */
export const filterUnits = ({ outChannels }: FilterGeometry): number => Math.ceil(outChannels / DY_LANES);

/** Of scratch memory: for the sums of all panels, for a part's tile of x, for all parts' tiles of dy. */
export function filterScratch(geometry: FilterGeometry): { sums: number; xTile: number; dyTiles: number } {
  const { xPanels, dyPanels, xPanelStep, dyPanelStep } = layoutOf(geometry);
  const taps = geometry.filterHeight * geometry.filterWidth;
  return { sums: dyPanels * taps * xPanels * BLOCK_BYTES, xTile: xPanels * xPanelStep, dyTiles: dyPanels * dyPanelStep };
}

/** `sums`, `xTiles` and `dyTiles` are scratch memory; each part has a tile of x of its own. */
export const filterGradient = dividedKernel<
  (typeof geometryWords)[number] | 'x' | 'dy' | 'output' | 'sums' | 'xTiles' | 'dyTiles',
  ProductsName
>(['x', 'dy', 'output', 'sums', 'xTiles', 'dyTiles', ...geometryWords], productsSources, (functions, words, { first, past, part }) => {
  const { batchSize, inHeight, inWidth, inChannels, outHeight, outWidth, outChannels, filterHeight, filterWidth } = words;
  const { strideHeight, strideWidth } = words;
  const { xPanels, tiling, columns, rowsFor, xPanelStep, dyPanelStep } = layoutOf(words);
  const taps = filterHeight * filterWidth;
  const panelSums = taps * xPanels * BLOCK_BYTES;
  const sums = words.sums + first * panelSums;
  const xTile = words.xTiles + part * xPanels * xPanelStep;
  const dyTile = words.dyTiles + first * dyPanelStep;
  const [firstChannel, channels] = [first * DY_LANES, Math.min(outChannels, past * DY_LANES) - first * DY_LANES];
  const firstColumn = Math.max(0, words.left);
  const pastColumn = Math.min(columns, inWidth + words.left);

  /** Tile of x → panels, zeros where the image is padded. */
  const packX = (image: number, images: number, top: number, rows: number): void => {
    for (let n = 0; n < images; n += 1)
      for (let row = 0; row < rows; row += 1) {
        const inRow = top + row;
        if (inRow < 0 || inRow >= inHeight || pastColumn <= firstColumn) continue;
        const place = (n * rows + row) * columns + firstColumn;
        const from = ((image + n) * inHeight + inRow) * inWidth + firstColumn - words.left;
        functions.packBy4(
          xTile + place * X_LANES * FLOAT_BYTES,
          xPanelStep,
          words.x + from * inChannels * FLOAT_BYTES,
          pastColumn - firstColumn,
          inChannels,
          0,
        );
      }
  };

  functions.clear(sums, (past - first) * panelSums);
  // Left over from elsewhere, the lanes beyond the channels could hold numbers that are slow to compute with; their sums are not read.
  functions.clear(dyTile, (past - first) * dyPanelStep);
  for (let image = 0; image < batchSize; image += tiling.images) {
    const images = Math.min(tiling.images, batchSize - image);
    for (let y = 0; y < outHeight; y += tiling.rows) {
      const outRows = Math.min(tiling.rows, outHeight - y);
      const rows = rowsFor(outRows);
      functions.clear(xTile, xPanels * xPanelStep);
      packX(image, images, y * strideHeight - words.top, rows);
      const from = ((image * outHeight + y) * outWidth * outChannels + firstChannel) * FLOAT_BYTES;
      functions.packBy8(
        dyTile,
        dyPanelStep,
        words.dy + from,
        images * outRows * outWidth,
        channels,
        (outChannels - channels) * FLOAT_BYTES,
      );
      const columnStep = strideWidth * X_LANES * FLOAT_BYTES;
      const rowSkip = (strideHeight * columns - outWidth * strideWidth) * X_LANES * FLOAT_BYTES;
      const imageSkip = (rows - outRows * strideHeight) * columns * X_LANES * FLOAT_BYTES;
      let block = sums;
      for (let panel = 0; panel < past - first; panel += 1)
        for (let i = 0; i < filterHeight; i += 1)
          for (let j = 0; j < filterWidth; j += 1) {
            const tap = (i * columns + j) * X_LANES * FLOAT_BYTES;
            for (let xPanel = 0; xPanel < xPanels; xPanel += 1, block += BLOCK_BYTES)
              functions.addProducts(
                block,
                xTile + xPanel * xPanelStep + tap,
                dyTile + panel * dyPanelStep,
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
  for (let panel = first; panel < past; panel += 1)
    for (let tap = 0; tap < taps; tap += 1)
      functions.unpack(
        words.output + (tap * inChannels * outChannels + panel * DY_LANES) * FLOAT_BYTES,
        outChannels * FLOAT_BYTES,
        words.sums + (panel * taps + tap) * xPanels * BLOCK_BYTES,
        inChannels,
        Math.min(DY_LANES, outChannels - panel * DY_LANES),
      );
});
