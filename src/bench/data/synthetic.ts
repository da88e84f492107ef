/** Synthetic ImageNet: endless images of 256×256 random bytes with random labels. They cost next to nothing to make and as much as any to train on. Data workers. */
import { STORED_ELEMS } from './image';
import { mixed, Random } from './random';

export interface SyntheticSource {
  kind: 'synthetic';
  seed: number;
  /** Each rank has images of its own. */
  rank: number;
  classes: number;
}

export class SyntheticImages {
  constructor(private readonly source: SyntheticSource) {}

  /** Bytes are uniform, four of each random word. */
  read(index: number, pixels: Uint8Array): number {
    const random = new Random(mixed(this.source.seed, this.source.rank, index, 0));
    for (let i = 0; i < STORED_ELEMS; i += 4) {
      const word = random.word();
      pixels[i] = word;
      pixels[i + 1] = word >>> 8;
      pixels[i + 2] = word >>> 16;
      pixels[i + 3] = word >>> 24;
    }
    return random.below(this.source.classes);
  }
}
