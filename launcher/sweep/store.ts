/**
 * The folder of a sweep: sweep.json, written as a whole after every run, and a lock, so that no two sweeps work in it at once. tsrun's process.
 *
 * Invariants: sweep.json is always whole (written beside, flushed, renamed); nothing is written into a folder that holds anything else than this sweep. The lock names a process and when that one
 * started: of a sweep that was killed it holds nobody up.
 */
import { closeSync, fsyncSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { LaunchError } from '../errors';
import { makeFolder } from '../folder';
import { startTimeOf } from '../process_table';
import { type Asked, differences } from './plan';
import type { SweepFile } from './records';

const FILE = 'sweep.json';
const LOCK = 'lock';
export const LOGS = 'logs';

/** What a sweep does with a folder that holds these files. @returns why it is refused, or undefined @param text of sweep.json, if there is one */
export function whyNotThere(folder: string, names: readonly string[], text: string | undefined, asked: Asked): string | undefined {
  if (text === undefined) {
    const strange = names.filter((name) => name !== LOCK && name !== LOGS);
    return strange.length > 0 ? `the folder ${folder} holds '${strange[0]}', and no sweep: name another folder with --out` : undefined;
  }
  const was = parsed(text);
  if (!was) return `${path.join(folder, FILE)} was not written by this version of tsrun sweep: name another folder with --out`;
  const found = differences(was.asked, asked);
  return found.length > 0
    ? `the folder ${folder} holds another sweep: ${found.join('; ')}. To start anew, name another folder with --out, or remove this one`
    : undefined;
}

function parsed(text: string): SweepFile | undefined {
  try {
    const file = JSON.parse(text) as SweepFile;
    return file.format === 'khorovod sweep 1' ? file : undefined;
  } catch {
    return undefined;
  }
}

export class SweepFolder {
  private constructor(private readonly folder: string) {}

  /** @throws LaunchError (exit 2) it holds something else, cannot be made, or another sweep works in it */
  static open(folder: string, asked: Asked): { store: SweepFolder; found?: SweepFile } {
    try {
      makeFolder(folder);
      const text = read(path.join(folder, FILE));
      const problem = whyNotThere(folder, readdirSync(folder), text, asked);
      if (problem !== undefined) throw new LaunchError(problem);
      const store = new SweepFolder(folder);
      store.lock();
      makeFolder(path.join(folder, LOGS));
      return { store, found: text === undefined ? undefined : parsed(read(path.join(folder, FILE))!) };
    } catch (error) {
      if (error instanceof LaunchError) throw error;
      throw new LaunchError(`the folder ${folder} cannot be used: ${(error as Error).message}`);
    }
  }

  path(...parts: string[]): string {
    return path.join(this.folder, ...parts);
  }

  save(file: SweepFile): void {
    this.write(FILE, `${JSON.stringify(file, null, 1)}\n`);
  }

  /** Whole, or as it was before. @throws the system's error */
  write(name: string, content: string | Uint8Array): void {
    const beside = this.path(`.${name}.new`);
    const file = openSync(beside, 'w');
    try {
      writeSync(file, content as Uint8Array);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(beside, this.path(name));
  }

  unlock(): void {
    rmSync(this.path(LOCK), { force: true });
  }

  private lock(): void {
    const own = JSON.stringify({ host: os.hostname(), pid: process.pid, start: startTimeOf(process.pid) });
    for (let tries = 0; tries < 2; tries += 1) {
      try {
        writeFileSync(this.path(LOCK), own, { flag: 'wx' });
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const holder = holderOf(read(this.path(LOCK)));
      if (holder !== undefined)
        throw new LaunchError(`another tsrun sweep (${holder}) works in ${this.folder}; if it does not, remove ${this.path(LOCK)}`);
      this.unlock();
    }
    throw new LaunchError(`another tsrun sweep has just begun to work in ${this.folder}`);
  }
}

/** Who holds it; undefined: nobody that is alive. */
function holderOf(text: string | undefined): string | undefined {
  let lock: { host?: string; pid?: number; start?: string };
  try {
    lock = JSON.parse(text ?? '');
  } catch {
    return undefined; // cut off while it was written
  }
  const { host, pid = 0, start } = lock;
  if (host !== os.hostname()) return `process ${pid} on host ${host}`;
  return start !== undefined && startTimeOf(pid) === start ? `process ${pid}` : undefined;
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
