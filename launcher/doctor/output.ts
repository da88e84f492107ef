/**
 * Whether the files of --output-filename can be written on the launcher's machine. tsrun's process.
 *
 * The folder of each rank is tried as a job makes it: one of an earlier job may be there already, or something else under its name. Nothing stays behind: what was made for a trial is
 * removed before the next.
 */
import { randomBytes } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { quoted } from '../agent_command';
import { folderOf, makeFolder, removeFolders } from '../folder';
import type { Finding } from './findings';

/** A block of any file system: a full disk has none left. */
const TRIED_BYTES = 4096;
const about = { host: '', check: 'output' } as const;
const OTHER_FOLDER = 'name another folder with --output-filename';

/** @param labels of all processes */
export function examineOutput(folder: string, labels: readonly string[]): Finding {
  for (const label of labels) {
    const problem = problemOf(folderOf(folder, label, labels));
    if (problem) return problem;
  }
  return { ...about, level: 'ok', text: folder };
}

/** A folder that cannot be made ends a job before it starts; a file that cannot be written is its warning. */
function problemOf(folder: string): Finding | undefined {
  let made: string[];
  try {
    made = makeFolder(folder);
  } catch (error) {
    const text = `--output-filename: the folder ${folder} cannot be made: ${(error as Error).message}`;
    return { ...about, level: 'error', text, mend: OTHER_FOLDER, exitCode: 2 };
  }
  const file = path.join(folder, `tsrun-doctor-${randomBytes(8).toString('hex')}`);
  try {
    writeFileSync(file, Buffer.alloc(TRIED_BYTES), { flag: 'wx' });
    return undefined;
  } catch (error) {
    const text = `--output-filename: no file can be written in ${folder}: ${(error as Error).message}`;
    // What was made is gone by the time the user asks.
    const stays = made[0] === undefined ? folder : path.dirname(made[0]);
    const isFull = (error as NodeJS.ErrnoException).code === 'ENOSPC';
    return { ...about, level: 'warning', text, mend: isFull ? `df -h ${quoted(stays)}` : OTHER_FOLDER };
  } finally {
    rmSync(file, { force: true });
    removeFolders(made);
  }
}
