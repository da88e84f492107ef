/** Looks at processes through /proc: which of them carry a mark in their environment or command line. Linux only. */
import { readdirSync, readFileSync } from 'node:fs';

export interface Found {
  pid: number;
  command: string;
}

const read = (pid: string, what: string): string => {
  try {
    return readFileSync(`/proc/${pid}/${what}`, 'latin1');
  } catch {
    return '';
  }
};

/** Live processes with that mark; a zombie is none. */
export function processesWith(mark: string): Found[] {
  const found: Found[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)) {
    const command = read(pid, 'cmdline');
    if (command === '' || !(command.includes(mark) || read(pid, 'environ').includes(mark))) continue;
    const stat = read(pid, 'stat');
    if (/^[ZX]$/.test(stat.slice(stat.lastIndexOf(')') + 2)[0] ?? 'Z')) continue;
    found.push({ pid: Number(pid), command: command.replace(/\0/g, ' ').trim() });
  }
  return found;
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
