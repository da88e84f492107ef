/**
 * Where images come from, and how a batch is filled from there. Data workers.
 *
 * Which images a batch holds, and what chance does to them, follows from the seed, the rank and the number of the image alone: batch k is the same whichever worker makes it.
 */
import { FolderImages, type FolderSource } from './decoded';
import { type Fit, placeImage, STORED_ELEMS } from './image';
import { mixed, Random } from './random';
import { SyntheticImages, type SyntheticSource } from './synthetic';

export type Source = SyntheticSource | FolderSource;
/** Told of an image that was skipped: its file, and why. */
export type OnSkip = (file: string, reason: string) => void;

/** One image of a rank's endless sequence. */
export interface Images {
  /** Writes the image's pixels, [256, 256, 3]. @returns its label @throws DataError it cannot be had */
  read(index: number, pixels: Uint8Array): number | Promise<number>;
}

/** @throws DataError there is no decoder */
const openSource = (source: Source, onSkip: OnSkip): Images =>
  source.kind === 'synthetic' ? new SyntheticImages(source) : new FolderImages(source, onSkip);

export interface BatchShape {
  batchSize: number;
  /** Height and width of the network's input. */
  size: number;
  fit: Fit;
}

/** Fills batches from a source, in any order. The constructor throws DataError where there is no decoder. */
export class BatchFiller {
  private readonly pixels = new Uint8Array(STORED_ELEMS);
  private readonly images: Images;

  constructor(
    private readonly source: Source,
    private readonly shape: BatchShape,
    onSkip: OnSkip,
  ) {
    this.images = openSource(source, onSkip);
  }

  /** @param into [batch, size, size, 3] @param labels [batch] @throws DataError an image cannot be had */
  async fill(batch: number, into: Float32Array, labels: Int32Array): Promise<void> {
    const { batchSize, size, fit } = this.shape;
    const { seed, rank } = this.source;
    for (let i = 0; i < batchSize; i += 1) {
      const index = batch * batchSize + i;
      labels[i] = await this.images.read(index, this.pixels);
      placeImage(this.pixels, into, i * size * size * 3, size, fit, new Random(mixed(seed, rank, index, 1)));
    }
  }
}
