/**
 * Unix stream sockets among processes of one host, beside each listener's port. Any thread.
 *
 * They are abstract (Linux): such a name is in no file system, ends with its listener, and is seen within one network namespace of one kernel. It is drawn at random so that
 * nobody can be there before, but is no secret: whoever connects proves the job key, as on the port.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';

const NAME_BYTES = 16;

export const newUnixName = (): string => `khorovod-${randomBytes(NAME_BYTES).toString('hex')}`;
/** For `listen` and `connect`. */
export const unixPath = (name: string): string => `\0${name}`;
/** As `ss` and /proc/net/unix write it. */
export const unixText = (name: string): string => `@${name}`;

/** The same text on two processes: one kernel, and one namespace of that kind. Empty: it cannot be told. */
export function namespaceOf(kind: 'net' | 'pid'): string {
  try {
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${readlinkSync(`/proc/self/ns/${kind}`)}`;
  } catch {
    return '';
  }
}

/** Where a process can be reached by a Unix socket. */
export interface UnixPlace {
  readonly name: string;
  /** `namespaceOf('net')` */
  readonly scope: string;
}

/** @returns why no process of this host has one for its links; undefined: they may */
export function whyNoUnixSockets(
  tls: boolean | undefined,
  scope: string,
  platform: NodeJS.Platform = process.platform,
): string | undefined {
  if (platform !== 'linux') return 'they need Linux';
  if (tls) return 'with --tls every link is TCP';
  return scope === '' ? '/proc is not there' : undefined;
}

export const isInReach = (own: UnixPlace | undefined, other: UnixPlace): boolean =>
  own !== undefined && other.name !== '' && other.scope === own.scope;
