/**
 * How the ranks of a job that is on one host only find each other without being told: rank 0 leaves key and port in a folder whose name all can work out. Communication thread.
 *
 * The folder, in the system's folder for temporary files, is this user's and nobody else's (0700); it is made by rank 0, who removes it when all have joined. Invariants: what is not a
 * folder of this user, or is open to others, is neither read nor written into (in a folder that all may write to, anyone could have made it); a note whose maker has died is
 * of an earlier job and counts as none.
 */
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, lstatSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { RendezvousError } from '../errors';
import { KEY_BYTES } from '../wire/handshake';

export interface Note {
  readonly key: Uint8Array;
  readonly port: number;
}

const LOOK_MS = 20;

export function folderOf(jobId: string, base = os.tmpdir()): string {
  const word = createHash('sha256').update(jobId).digest('hex').slice(0, 20);
  return path.join(base, `khorovod-${process.getuid?.() ?? 'user'}-${word}`);
}

/** @throws RendezvousError somebody else has made a folder of that name */
export function leaveNote(folder: string, { key, port }: Note): void {
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST')
      throw new RendezvousError(`Rank 0 cannot leave the job key for the other ranks of this host: ${(error as Error).message}.`, {
        cause: error,
      });
    checkOwn(folder);
  }
  const draft = path.join(folder, `draft-${process.pid}-${randomBytes(4).toString('hex')}`);
  writeFileSync(draft, JSON.stringify({ pid: process.pid, port, key: Buffer.from(key).toString('hex') }), { mode: 0o600, flag: 'wx' });
  renameSync(draft, path.join(folder, 'note'));
}

/** Waits for it. @throws RendezvousError it does not come in time, or the folder is somebody else's */
export async function awaitNote(folder: string, timeoutMs: number): Promise<Note> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const note = readNote(folder);
    if (note) return note;
    if (performance.now() > deadlineMs)
      throw new RendezvousError(
        `After ${(timeoutMs / 1000).toFixed(1)} s rank 0 had not left the job key in ${folder}. See its own output for why it did not get as far as init(); ` +
          'where ranks of one host do not share the folder for temporary files (TMPDIR), give them a key file (TSRUN_KEY_FILE).',
      );
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

export function removeNote(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

function readNote(folder: string): Note | undefined {
  let descriptor: number | undefined;
  try {
    checkOwn(folder);
    descriptor = openSync(path.join(folder, 'note'), constants.O_RDONLY | constants.O_NOFOLLOW);
    const { uid } = fstatSync(descriptor);
    if (process.getuid && uid !== process.getuid()) throw foreign(folder, `holds a note of user ${uid}`);
    const { pid, port, key } = JSON.parse(readFileSync(descriptor, 'utf8')) as { pid: number; port: number; key: string };
    return isAlive(pid) ? { port, key: Buffer.from(key, 'hex').subarray(0, KEY_BYTES) } : undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Not there yet, or just being removed.
    if (code === 'ENOENT') return undefined;
    if (code === 'ELOOP') throw foreign(folder, 'holds a note that is a link');
    throw error;
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** @throws RendezvousError not a folder of this user alone; ENOENT */
function checkOwn(folder: string): void {
  const stat = lstatSync(folder);
  const { mode, uid } = stat;
  if (!stat.isDirectory()) throw foreign(folder, 'is no folder');
  if (process.getuid && uid !== process.getuid()) throw foreign(folder, `belongs to user ${uid}`);
  if (mode & 0o077) throw foreign(folder, `is open to others (mode ${(mode & 0o777).toString(8)})`);
}

const foreign = (folder: string, what: string): RendezvousError =>
  new RendezvousError(
    `The ranks of this host were to meet through ${folder}, but it ${what}. Remove it, or give the job a key file (TSRUN_KEY_FILE).`,
  );

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
