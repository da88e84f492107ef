/** What a process of the job leaves for the launcher before it fails. Main thread. */
import { writeFileSync } from 'node:fs';
import type { Config } from '../config';
import type { ErrorRecord } from '../errors';

/** Without a launcher: nothing. */
export function writeErrorFile({ errorFile }: Config, record: ErrorRecord): void {
  if (!errorFile) return;
  try {
    writeFileSync(errorFile, JSON.stringify(record), { mode: 0o600 });
  } catch {
    // The launcher is gone and took the folder with it: nobody reads this any more.
  }
}
