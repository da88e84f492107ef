/**
 * What known_hosts files say about a host's key. Pure; tsrun.
 *
 * The format is sshd(8)'s: `[@marker] names keytype base64key [comment]`, names a list of patterns (`*`, `?`, `!` for not), or one name hashed (`|1|salt|hash`, HMAC-SHA1), a port other than
 * 22 as `[name]:port`. Invariants: a key that is revoked anywhere is refused, whatever else stands there; a host of which a key of the same type is known, and another one, has changed, and
 * nothing makes that acceptable. `@cert-authority` lines are passed over: certificates are not accepted, so the plain key must be known.
 */
import { createHash, createHmac } from 'node:crypto';

export interface KnownHost {
  readonly file: string;
  readonly line: number;
  readonly isRevoked: boolean;
  /** As written: patterns, or one hashed name. */
  readonly names: string;
  readonly keyType: string;
  readonly key: Buffer;
}

export type Verdict =
  | { readonly kind: 'known' | 'unknown' }
  /** `entry`: the one that says so. */
  | { readonly kind: 'changed' | 'revoked'; readonly entry: KnownHost };

/** Lines that are no entry (comments, other formats) are passed over, as ssh does. */
export function parseKnownHosts(text: string, file: string): KnownHost[] {
  return text.split('\n').flatMap((line, i) => {
    const words = line.trim().split(/\s+/);
    const marker = words[0]?.startsWith('@') ? words.shift()! : '';
    const [names, keyType, encoded] = words;
    if (!names || names.startsWith('#') || !keyType || !encoded || marker === '@cert-authority') return [];
    const key = Buffer.from(encoded, 'base64');
    return key.length === 0 ? [] : [{ file, line: i + 1, isRevoked: marker === '@revoked', names, keyType, key }];
  });
}

/** A host as known_hosts names it. */
export const knownName = (host: string, port: number): string => (port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`);

/** `key`: in SSH's wire format, which begins with its type. */
export function judgeHostKey(entries: readonly KnownHost[], host: string, port: number, key: Buffer): Verdict {
  const revoked = entries.find((entry) => entry.isRevoked && entry.key.equals(key) && matches(entry.names, knownName(host, port)));
  if (revoked) return { kind: 'revoked', entry: revoked };
  const own = entriesOf(entries, host, port);
  if (own.some((entry) => entry.key.equals(key))) return { kind: 'known' };
  // Keys of other types only: ssh would have asked for one of those, so this is not the host they are of.
  const [other] = [...own.filter(({ keyType }) => keyType === keyTypeOf(key)), ...own];
  return other ? { kind: 'changed', entry: other } : { kind: 'unknown' };
}

/** Types of the keys known of a host, to be asked for first: with another one it would look changed. */
export const knownKeyTypes = (entries: readonly KnownHost[], host: string, port: number): string[] => [
  ...new Set(entriesOf(entries, host, port).map(({ keyType }) => keyType)),
];

/** What a line for this host looks like, with a newline. */
export const lineFor = (host: string, port: number, key: Buffer): string =>
  `${knownName(host, port)} ${keyTypeOf(key)} ${key.toString('base64')}\n`;

/** As ssh shows it: `SHA256:…`. */
export const fingerprintOf = (key: Buffer): string => `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`;

export function keyTypeOf(key: Buffer): string {
  const length = key.length >= 4 ? key.readUInt32BE(0) : 0;
  return key.toString('latin1', 4, 4 + Math.min(length, 64));
}

const entriesOf = (entries: readonly KnownHost[], host: string, port: number): KnownHost[] =>
  entries.filter((entry) => !entry.isRevoked && matches(entry.names, knownName(host, port)));

function matches(names: string, name: string): boolean {
  const hashed = /^\|1\|([^|]+)\|([^|]+)$/.exec(names);
  if (hashed) {
    const hash = createHmac('sha1', Buffer.from(hashed[1]!, 'base64')).update(name).digest();
    return hash.equals(Buffer.from(hashed[2]!, 'base64'));
  }
  const patterns = names.toLowerCase().split(',');
  const isMatch = (pattern: string): boolean => expressionOf(pattern).test(name);
  if (patterns.some((pattern) => pattern.startsWith('!') && isMatch(pattern.slice(1)))) return false;
  return patterns.some((pattern) => !pattern.startsWith('!') && isMatch(pattern));
}

function expressionOf(pattern: string): RegExp {
  const source = pattern.replace(/[.*+?^${}()|[\]\\]/g, (char) => (char === '*' ? '.*' : char === '?' ? '.' : `\\${char}`));
  return new RegExp(`^${source}$`);
}
