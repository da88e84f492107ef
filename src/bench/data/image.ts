/**
 * From a stored image of 256×256 pixels to a network's input: cropped at a random place or resized, mirrored by chance, normalised to −1 … 1. Pure; runs in data workers.
 */
import type { Random } from './random';

/** Height and width of stored images. */
export const STORED_SIZE = 256;
export const CHANNELS = 3;
export const STORED_ELEMS = STORED_SIZE * STORED_SIZE * CHANNELS;

/** crop: a square of the network's size, at a random place; resize: the whole image. */
export type Fit = 'crop' | 'resize';
/** Crops where there is something to crop from. */
export const fitFor = (size: number): Fit => (size <= STORED_SIZE ? 'crop' : 'resize');

/** 0 … 255 → −1 … 1. */
const normalized = Float32Array.from({ length: 256 }, (_, byte) => byte / 127.5 - 1);

/** Writes [size, size, 3] floats at `offset`. @param pixels [256, 256, 3], 0 … 255 */
export function placeImage(pixels: Uint8Array, into: Float32Array, offset: number, size: number, fit: Fit, random: Random): void {
  const isMirrored = random.below(2) === 1;
  if (fit === 'crop') {
    const [top, left] = [random.below(STORED_SIZE - size + 1), random.below(STORED_SIZE - size + 1)];
    crop(pixels, into, offset, size, top, left, isMirrored);
  } else resize(pixels, into, offset, size, isMirrored);
}

function crop(pixels: Uint8Array, into: Float32Array, offset: number, size: number, top: number, left: number, isMirrored: boolean): void {
  let to = offset;
  const step = isMirrored ? -CHANNELS : CHANNELS;
  for (let y = 0; y < size; y += 1) {
    let from = ((top + y) * STORED_SIZE + left + (isMirrored ? size - 1 : 0)) * CHANNELS;
    for (let x = 0; x < size; x += 1) {
      into[to] = normalized[pixels[from]!]!;
      into[to + 1] = normalized[pixels[from + 1]!]!;
      into[to + 2] = normalized[pixels[from + 2]!]!;
      to += CHANNELS;
      from += step;
    }
  }
}

/** The two stored places between which each of `size` places lies, and how far from the first: centres of pixels fall on centres (half-pixel centres). */
function placesBetween(size: number): { low: Int32Array; high: Int32Array; part: Float32Array } {
  const [low, high, part] = [new Int32Array(size), new Int32Array(size), new Float32Array(size)];
  for (let i = 0; i < size; i += 1) {
    const at = Math.min(Math.max(((i + 0.5) * STORED_SIZE) / size - 0.5, 0), STORED_SIZE - 1);
    low[i] = Math.floor(at);
    high[i] = Math.min(low[i]! + 1, STORED_SIZE - 1);
    part[i] = at - low[i]!;
  }
  return { low, high, part };
}
const placesOf = new Map<number, ReturnType<typeof placesBetween>>();

/** Bilinear. */
function resize(pixels: Uint8Array, into: Float32Array, offset: number, size: number, isMirrored: boolean): void {
  const places = placesOf.get(size) ?? placesBetween(size);
  placesOf.set(size, places);
  const { low, high, part } = places;
  let to = offset;
  for (let y = 0; y < size; y += 1) {
    const [upper, lower, down] = [low[y]! * STORED_SIZE, high[y]! * STORED_SIZE, part[y]!];
    for (let i = 0; i < size; i += 1) {
      const x = isMirrored ? size - 1 - i : i;
      const [left, right, along] = [low[x]!, high[x]!, part[x]!];
      for (let c = 0; c < CHANNELS; c += 1) {
        const above = pixels[(upper + left) * CHANNELS + c]! * (1 - along) + pixels[(upper + right) * CHANNELS + c]! * along;
        const below = pixels[(lower + left) * CHANNELS + c]! * (1 - along) + pixels[(lower + right) * CHANNELS + c]! * along;
        into[to] = (above * (1 - down) + below * down) / 127.5 - 1;
        to += 1;
      }
    }
  }
}
