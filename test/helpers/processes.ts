/** Looks at processes through /proc: which of them carry a mark in their environment or command line, or belong to a host of the test bed. Linux only. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface Found {
  pid: number;
  command: string;
}

const read = (pid: number | string, what: string): string => {
  try {
    return readFileSync(`/proc/${pid}/${what}`, 'latin1');
  } catch {
    return '';
  }
};

/** Names the PID namespace that the process lives in; '': it is gone. */
export function pidNamespaceOf(pid: number | string): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return '';
  }
}

/** Live processes of which this is true; a zombie is none, and this process is left out. */
function processesThat(fits: (pid: string, command: string) => boolean): Found[] {
  const found: Found[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)) {
    const command = read(pid, 'cmdline');
    if (command === '' || !fits(pid, command)) continue;
    const stat = read(pid, 'stat');
    if (/^[ZX]$/.test(stat.slice(stat.lastIndexOf(')') + 2)[0] ?? 'Z')) continue;
    found.push({ pid: Number(pid), command: command.replace(/\0/g, ' ').trim() });
  }
  return found;
}

export const processesWith = (mark: string): Found[] =>
  processesThat((pid, command) => command.includes(mark) || read(pid, 'environ').includes(mark));

export const processesIn = (pidNamespace: string): Found[] => processesThat((pid) => pidNamespaceOf(pid) === pidNamespace);

/** What the process was started with; undefined: it has no such variable. */
export function variableOf(pid: number, name: string): string | undefined {
  return read(pid, 'environ')
    .split('\0')
    .find((entry) => entry.startsWith(`${name}=`))
    ?.slice(name.length + 1);
}

/** At once; it may be gone meanwhile. */
export function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // So it was.
  }
}

/** Resident memory. */
export const residentBytesOf = (pid: number): number => Number(/^VmRSS:\s*(\d+) kB/m.exec(read(pid, 'status'))?.[1] ?? Number.NaN) * 1024;

/** TCP ports that somebody listens on in the network namespace of this process. */
export function listenersSeenBy(pid: number): Array<{ address: string; port: number; inode: string }> {
  return ['tcp', 'tcp6'].flatMap((file) =>
    read(pid, `net/${file}`)
      .split('\n')
      .slice(1)
      .flatMap((line) => {
        const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
        const [address = '', port = ''] = local.split(':');
        return state === '0A' ? [{ address: addressOf(address), port: Number.parseInt(port, 16), inode }] : [];
      }),
  );
}

/** The kernel's words of four bytes, each in this machine's (little-endian) order; IPv6 stays as hexadecimal digits. */
function addressOf(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  return bytes.length === 4 ? [...bytes.swap32()].join('.') : bytes.swap32().toString('hex');
}

/** The probe's first truthy value, or undefined when the time is over. */
export async function until<T>(probe: () => T, timeoutMs: number): Promise<T | undefined> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    const value = probe();
    if (value) return value;
    if (performance.now() > endMs) return undefined;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
