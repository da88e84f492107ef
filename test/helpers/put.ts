/** How a rank's program says something to its test: a file in the job's folder. */
import { renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** Whoever sees the name finds the whole text. Until then it has a name that begins with a dot. */
export function put(folder: string, name: string, text: string): void {
  writeFileSync(path.join(folder, `.${name}`), text);
  renameSync(path.join(folder, `.${name}`), path.join(folder, name));
}
