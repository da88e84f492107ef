/**
 * Whether the files of --output-filename can be written on the launcher's machine. tsrun's process.
 *
 * Nothing stays behind: the file that is tried is removed, and so are the folders that were made for it.
 */
import { randomBytes } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { quoted } from '../agent_command';
import { makeFolder, removeFolders } from '../folder';
import type { Finding } from './findings';

/** A block of any file system: a full disk has none left. */
const TRIED_BYTES = 4096;

export function examineOutput(folder: string): Finding {
  const about = { host: '', check: 'output' } as const;
  const mend = 'name another folder with --output-filename';
  let made: string[];
  try {
    made = makeFolder(folder);
  } catch (error) {
    const text = `--output-filename: the folder ${folder} cannot be made: ${(error as Error).message}`;
    return { ...about, level: 'error', text, mend, exitCode: 2 };
  }
  const file = path.join(folder, `tsrun-doctor-${randomBytes(8).toString('hex')}`);
  try {
    writeFileSync(file, Buffer.alloc(TRIED_BYTES), { flag: 'wx' });
    return { ...about, level: 'ok', text: folder };
  } catch (error) {
    const text = `--output-filename: no file can be written in ${folder}: ${(error as Error).message}`;
    // A folder for each rank is made in it: where that is refused, a job does not start.
    const isRefused = (error as NodeJS.ErrnoException).code !== 'ENOSPC';
    return isRefused
      ? { ...about, level: 'error', text, mend, exitCode: 2 }
      : { ...about, level: 'warning', text, mend: `df -h ${quoted(folder)}` };
  } finally {
    rmSync(file, { force: true });
    removeFolders(made);
  }
}
