/** The files of an ssh configuration, as they lie on this machine. tsrun. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { glob } from 'ssh-config';
import type { Files } from './config';

export const files: Files = {
  read(file) {
    try {
      return readFileSync(file, 'utf8');
    } catch {
      return undefined;
    }
  },
  list(pattern) {
    const { root } = path.parse(pattern);
    return pattern
      .slice(root.length)
      .split('/')
      .reduce((places, part) => places.flatMap((place) => matching(place, part)), [root]);
  },
};

/** Entries of that folder that the pattern names; a name without wildcards as it is, be it there or not. */
function matching(folder: string, part: string): string[] {
  if (!/[*?]/.test(part)) return [path.join(folder, part)];
  try {
    return readdirSync(folder)
      .filter((name) => !name.startsWith('.') && glob(part, name))
      .sort()
      .map((name) => path.join(folder, name));
  } catch {
    return [];
  }
}
