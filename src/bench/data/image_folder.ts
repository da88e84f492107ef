/**
 * A folder of images, one folder a class: which there are, which are a rank's, and in which order it sees them. The list is made once, on the main thread, before anything starts; the rest is pure.
 */
import { type Dirent, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { DataError } from './data_error';
import { mixed, permutation, Random } from './random';

export interface ImageFile {
  file: string;
  /** The place of its folder among the sorted folders. */
  label: number;
}
export interface ImageList {
  /** Sorted by folder, then by name. */
  images: ImageFile[];
  /** Names of the folders, sorted; the label is the place. */
  classes: string[];
}

const IMAGE_NAME = /\.(jpe?g|png)$/i;
/** By code units: the same on every host, whatever its language. */
const byName = (a: Dirent, b: Dirent): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
const isHidden = ({ name }: Dirent): boolean => name.startsWith('.');

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => !isHidden(entry))
      .sort(byName);
  } catch (error) {
    throw new DataError(`The data folder ${folder} cannot be read: ${(error as Error).message}.`, { cause: error });
  }
}

/** A folder, or a link to one. */
function isFolder(entry: Dirent, parent: string): boolean {
  return (
    entry.isDirectory() ||
    (entry.isSymbolicLink() && statSync(path.join(parent, entry.name), { throwIfNoEntry: false })?.isDirectory() === true)
  );
}

/** All `FOLDER/CLASS/*.jpg`, `.jpeg` and `.png`. @throws DataError it cannot be read, has no folders of images, or one without an image, or an empty file */
export function listImages(folder: string): ImageList {
  const folders = entriesOf(folder).filter((entry) => isFolder(entry, folder));
  if (folders.length === 0)
    throw new DataError(`The data folder ${folder} has no folder in it; images belong into one folder a class: ${folder}/CLASS/*.jpg.`);
  const images = folders.flatMap(({ name: className }, label) => {
    const parent = path.join(folder, className);
    const found = entriesOf(parent).filter(({ name }) => IMAGE_NAME.test(name));
    if (found.length === 0) throw new DataError(`The data folder ${parent} has no .jpg, .jpeg or .png in it.`);
    return found.map(({ name }) => ({ file: path.join(parent, name), label }));
  });
  return { images, classes: folders.map(({ name }) => name) };
}

/** Rank r has images r, r + size, …; all ranks equally many. @throws DataError there are fewer images than ranks */
export function shardOf(images: readonly ImageFile[], rank: number, size: number): ImageFile[] {
  const count = Math.floor(images.length / size);
  if (count === 0) throw new DataError(`${images.length} images are too few for ${size} ranks.`);
  return Array.from({ length: count }, (_, i) => images[i * size + rank]!);
}

/** Image `index` of the endless sequence that goes through all `count` again and again, each time in another order. Keeps the order it used last. */
export class EpochOrder {
  private epoch = -1;
  private order: Int32Array = new Int32Array(0);

  constructor(
    private readonly count: number,
    private readonly seed: number,
  ) {}

  at(index: number): number {
    const epoch = Math.floor(index / this.count);
    if (epoch !== this.epoch) {
      this.order = permutation(this.count, new Random(mixed(this.seed, epoch, 2)));
      this.epoch = epoch;
    }
    return this.order[index % this.count]!;
  }
}
