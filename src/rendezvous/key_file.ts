/**
 * The job key from a file that a user made. Any thread, and the launcher.
 *
 * Any content of 32 bytes or more is a key: it is hashed to 256 bits, so a file from `openssl rand -hex 32`, `head -c 32 /dev/urandom` or a Kubernetes Secret will do, and it
 * must be the same, byte for byte, on every host. Whoever can read it can join the job: it must be this user's (or root's) and nobody else's to read. In a pod the group may
 * read it too: a Secret that is mounted for a user other than root belongs to root and to the pod's group, and nobody else is in the pod.
 */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { RendezvousError } from '../errors';

const LEAST_BYTES = 32;
/** More is no key but some other file. */
const MOST_BYTES = 1 << 16;

export const MAKE_KEY = '(umask 077; head -c 32 /dev/urandom > ~/.khorovod-key)';

/** 32 bytes. @throws RendezvousError it cannot be read, is too short, or others may read it */
export function readKeyFile(file: string, { isInPod }: { isInPod: boolean }): Uint8Array {
  const refuse = (why: string, cause?: unknown): RendezvousError =>
    new RendezvousError(`The job key in '${file}' (TSRUN_KEY_FILE) ${why}`, { cause });
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (error) {
    throw refuse(`cannot be read: ${(error as Error).message}. Make it once and copy it to every host: ${MAKE_KEY}`, error);
  }
  try {
    const stat = fstatSync(descriptor);
    const problem = stat.isFile() ? problemOf({ ...stat, user: process.geteuid?.() }, isInPod) : 'is no file.';
    if (problem) throw refuse(problem.replaceAll('FILE', file));
    const bytes = Buffer.alloc(MOST_BYTES + 1);
    let count = 0;
    for (let read = -1; read !== 0 && count < bytes.length; count += read)
      read = readSync(descriptor, bytes, count, bytes.length - count, null);
    if (count < LEAST_BYTES) throw refuse(`has ${count} bytes; a key has ${LEAST_BYTES} or more: ${MAKE_KEY}`);
    if (count > MOST_BYTES) throw refuse(`has more than ${MOST_BYTES} bytes: that is no key. Make one: ${MAKE_KEY}`);
    return createHash('sha256').update('khorovod job key\0').update(bytes.subarray(0, count)).digest();
  } finally {
    closeSync(descriptor);
  }
}

/** Why a file with that mode and owner is refused, FILE standing for its name; undefined: it is not. Pure. */
export function problemOf(
  { mode, uid, user }: { mode: number; uid: number; user: number | undefined },
  isInPod: boolean,
): string | undefined {
  if (user === undefined) return undefined; // no such permissions on this system
  if (uid !== user && uid !== 0) return `belongs to user ${uid}, who could change it, and this is user ${user}. Make a copy of your own.`;
  const tooOpen = mode & (isInPod ? 0o037 : 0o077);
  if (tooOpen === 0) return undefined;
  const text = (mode & 0o777).toString(8).padStart(4, '0');
  return isInPod
    ? `has mode ${text}: more than its owner and group may use it. Give the Secret's volume defaultMode: 0400.`
    : `has mode ${text}: others than its owner may use it. Run: chmod 600 FILE`;
}
