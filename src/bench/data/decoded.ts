/**
 * Images of a folder as stored pixels: decoded, their shorter side brought to 256 pixels, the middle square of it. Data workers.
 *
 * The decoder is sharp (an optional package: libvips, prebuilt, without an install script). A corrupt image is refused by name, or its place is taken by the next that is none: the same one whichever
 * worker meets it.
 */
import { DataError } from './data_error';
import { STORED_ELEMS, STORED_SIZE } from './image';
import { EpochOrder, type ImageFile } from './image_folder';

export type OnCorrupt = 'refuse' | 'skip';
export interface FolderSource {
  kind: 'folder';
  seed: number;
  rank: number;
  /** This rank's. */
  images: readonly ImageFile[];
  onCorrupt: OnCorrupt;
}

type Sharp = typeof import('sharp');

/** @throws DataError it is not installed */
export function loadDecoder(): Sharp {
  try {
    const sharp = require('sharp') as Sharp;
    // One image a worker at a time, and none is read twice in a row.
    sharp.concurrency(1);
    sharp.cache(false);
    return sharp;
  } catch (error) {
    throw new DataError(
      `Images are decoded by the package sharp, which cannot be loaded: ${(error as Error).message.split('\n')[0]}. Run: npm install sharp`,
      {
        cause: error,
      },
    );
  }
}

export class FolderImages {
  private readonly sharp = loadDecoder();
  private readonly order: EpochOrder;
  private readonly corrupt = new Set<number>();

  /** @param onSkip is told once of each image that was skipped */
  constructor(
    private readonly source: FolderSource,
    private readonly onSkip: (file: string, reason: string) => void,
  ) {
    this.order = new EpochOrder(source.images.length, source.seed);
  }

  /** @throws DataError the image is corrupt and none is to be skipped, or all are corrupt */
  async read(index: number, pixels: Uint8Array): Promise<number> {
    const { images, onCorrupt } = this.source;
    const first = this.order.at(index);
    for (let i = 0; i < images.length; i += 1) {
      const place = (first + i) % images.length;
      if (this.corrupt.has(place)) continue;
      const { file, label } = images[place]!;
      try {
        await this.decode(file, pixels);
        return label;
      } catch (error) {
        const reason = (error as Error).message.split('\n')[0]!;
        if (onCorrupt === 'refuse')
          throw new DataError(`The image ${file} cannot be decoded: ${reason}. Mend or remove it, or skip such images.`, { cause: error });
        this.corrupt.add(place);
        this.onSkip(file, reason);
      }
    }
    throw new DataError(`None of the ${images.length} images can be decoded.`);
  }

  /** A file that ends early is an error too: half a picture would be grey. */
  private async decode(file: string, pixels: Uint8Array): Promise<void> {
    const decoded = await this.sharp(file, { failOn: 'truncated' })
      .autoOrient()
      .resize(STORED_SIZE, STORED_SIZE, { fit: 'cover' })
      .flatten()
      .toColourspace('srgb')
      .raw()
      .toBuffer();
    if (decoded.length !== STORED_ELEMS) throw new DataError(`it has ${decoded.length} bytes when decoded, not ${STORED_ELEMS}`);
    pixels.set(decoded);
  }
}
