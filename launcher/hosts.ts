/**
 * Host lists, hostfiles, and which rank runs where. Pure.
 *
 *   h1:4,h2:4   h1,h2 (slots shared evenly)   node[01-16,20]:2   ann@h1:2   [fd00::1]:2
 */
import { expandRanges, splitHostList } from '../src/host_list';
import { LaunchError } from './errors';

export interface HostSpec {
  readonly host: string;
  readonly user?: string;
  /** undefined: shares what the others leave. */
  readonly slots?: number;
  readonly maxSlots?: number;
}

export interface Assignment {
  readonly rank: number;
  readonly host: string;
  readonly user?: string;
  readonly localRank: number;
  readonly localSize: number;
  /** Index of this host among those that have this local rank, and how many those are. */
  readonly crossRank: number;
  readonly crossSize: number;
}

const wholeNumber = (text: string): number | undefined => (/^\d{1,9}$/.test(text) ? Number(text) : undefined);

/** @throws LaunchError a range that is malformed or empty */
function hostsOf(name: string): string[] {
  try {
    return expandRanges(name);
  } catch (error) {
    throw new LaunchError((error as Error).message);
  }
}

/** One entry: `[user@]host[:slots]`, IPv6 in brackets, ranges. */
function parseEntry(entry: string): Array<{ host: string; user?: string; slots?: number }> {
  if (entry === '') throw new LaunchError('an empty entry in the host list');
  const at = entry.indexOf('@');
  const user = at >= 0 ? entry.slice(0, at) : undefined;
  if (user === '') throw new LaunchError(`host '${entry}': nothing before '@'`);
  const rest = entry.slice(at + 1);
  const ipv6 = /^\[([0-9a-fA-F:.%\w]*:[0-9a-fA-F:.%\w]*)\](.*)$/.exec(rest);
  const [name, tail] = ipv6 ? [ipv6[1]!, ipv6[2]!] : splitSlots(rest);
  let slots: number | undefined;
  if (tail !== '') {
    slots = tail.startsWith(':') ? wholeNumber(tail.slice(1)) : undefined;
    if (slots === undefined || slots < 1)
      throw new LaunchError(`host '${entry}': '${tail.replace(/^:/, '')}' is no number of slots; write ${name}:4`);
  }
  const hosts = ipv6 ? [name] : hostsOf(name);
  for (const host of hosts) {
    if (!ipv6 && !/^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$/.test(host))
      throw new LaunchError(`'${host}' is no host name; an IPv6 address stands in brackets`);
  }
  return hosts.map((host) => ({ host, user, slots }));
}

function splitSlots(text: string): [string, string] {
  const colon = text.indexOf(':', text.lastIndexOf(']') + 1);
  return colon < 0 ? [text, ''] : [text.slice(0, colon), text.slice(colon)];
}

/** `-H`. @throws LaunchError (exit 2) says which entry, and what is wrong with it */
export function parseHosts(text: string): HostSpec[] {
  return merged(splitHostList(text).flatMap(parseEntry));
}

/** One host a line: `h1 slots=4 max_slots=8`, `h1:4`; `#` begins a comment. @throws LaunchError (exit 2) names file and line */
export function parseHostfile(text: string, fileName: string): HostSpec[] {
  const hosts: HostSpec[] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    const [entry, ...settings] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (!entry) continue;
    try {
      const found: Record<string, number> = {};
      for (const setting of settings) {
        const [key, value] = setting.split('=', 2);
        const number = wholeNumber(value ?? '');
        if (key !== 'slots' && key !== 'max_slots' && key !== 'max-slots')
          throw new LaunchError(`'${setting}' is unknown; write slots=4 or max_slots=8`);
        if (number === undefined || number < 1) throw new LaunchError(`'${setting}': no number of slots`);
        found[key.replace('-', '_')] = number;
      }
      for (const host of parseEntry(entry)) {
        if (host.slots !== undefined && found.slots !== undefined) throw new LaunchError(`slots are given twice for '${entry}'`);
        hosts.push({ ...host, slots: host.slots ?? found.slots, maxSlots: found.max_slots });
      }
    } catch (error) {
      throw new LaunchError(`hostfile ${fileName}, line ${i + 1}: ${(error as Error).message}`);
    }
  }
  if (hosts.length === 0) throw new LaunchError(`hostfile ${fileName} names no host`);
  return merged(hosts);
}

/** A host that is named again brings more slots, as in mpirun. */
function merged(hosts: readonly HostSpec[]): HostSpec[] {
  const byName = new Map<string, HostSpec>();
  for (const host of hosts) {
    const key = `${host.user ?? ''}@${host.host}`;
    const earlier = byName.get(key);
    const sum = (a?: number, b?: number): number | undefined => (a === undefined && b === undefined ? undefined : (a ?? 1) + (b ?? 1));
    byName.set(key, earlier ? { ...host, slots: sum(earlier.slots, host.slots), maxSlots: earlier.maxSlots ?? host.maxSlots } : host);
  }
  return [...byName.values()];
}

/** How many processes each host gets. */
function share(np: number, hosts: readonly HostSpec[], oversubscribe: boolean): number[] {
  const given = hosts.reduce((sum, { slots }) => sum + (slots ?? 0), 0);
  const open = hosts.filter(({ slots }) => slots === undefined).length;
  const rest = Math.max(0, np - given);
  let opened = 0;
  const counts = hosts.map(({ slots, maxSlots }) => {
    const own = slots ?? Math.floor(rest / open) + (opened++ < rest % open ? 1 : 0);
    return Math.min(own, maxSlots ?? own);
  });
  let left = np;
  const filled = counts.map((count) => {
    const taken = Math.min(count, left);
    left -= taken;
    return taken;
  });
  // Oversubscribed: one more each in turn, up to max_slots.
  while (left > 0 && oversubscribe) {
    const before = left;
    for (const [i, { maxSlots }] of hosts.entries()) {
      if (left === 0 || filled[i]! >= (maxSlots ?? Number.POSITIVE_INFINITY)) continue;
      filled[i]! += 1;
      left -= 1;
    }
    if (left === before) break;
  }
  if (left > 0) {
    const available = np - left;
    const mend = oversubscribe ? 'raise max_slots' : 'name more hosts, give them more slots, or add --oversubscribe';
    throw new LaunchError(`${np} processes were asked for, but the hosts have ${available} slots: ${mend}`, 4);
  }
  return filled;
}

/** Ranks fill the hosts in their order. Exactly `np`. @throws LaunchError (exit 4) names both numbers */
export function assign(np: number, hosts: readonly HostSpec[], { oversubscribe }: { oversubscribe: boolean }): Assignment[] {
  const counts = share(np, hosts, oversubscribe);
  let rank = 0;
  return hosts.flatMap(({ host, user }, i) =>
    Array.from({ length: counts[i]! }, (_, localRank) => ({
      rank: rank++,
      host,
      user,
      localRank,
      localSize: counts[i]!,
      crossRank: counts.slice(0, i).filter((count) => count > localRank).length,
      crossSize: counts.filter((count) => count > localRank).length,
    })),
  );
}
