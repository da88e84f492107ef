/**
 * What the kernel tells of processes (Linux's /proc): who carries a mark in its environment, who is in a process group, who has a handler for a signal.
 *
 * Any process. A zombie counts as gone: it holds nothing, and in a container without init it stays for ever. Where there is no /proc, the answers are
 * what `kill(pid, 0)` can tell, and nobody carries a mark.
 */
import { readdirSync, readFileSync } from 'node:fs';
import os from 'node:os';

function read(pid: number | string, what: string): string {
  try {
    return readFileSync(`/proc/${pid}/${what}`, 'latin1');
  } catch {
    return ''; // gone meanwhile, or another user's
  }
}

function allPids(): number[] {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

/** Fields of /proc/PID/stat behind the command's name, which may hold blanks and brackets. */
function stat(pid: number): { state: string; group: number } | undefined {
  const text = read(pid, 'stat');
  if (text === '') return undefined;
  const [state = 'X', , group] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state, group: Number(group) };
}

/** When it started, in the kernel's ticks: with the number, what tells a process from a later one. undefined: it is gone, or there is no /proc. */
export function startTimeOf(pid: number): string | undefined {
  const text = read(pid, 'stat');
  return text === '' ? undefined : text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
}

const isGone = (state: string): boolean => state === 'Z' || state === 'X';
const hasTable = (): boolean => read('self', 'stat') !== '';

/** The live processes of a group. */
export function groupMembers(group: number): number[] {
  if (!hasTable()) return answers(-group) ? [group] : [];
  return allPids().filter((pid) => {
    const found = stat(pid);
    return found?.group === group && !isGone(found.state);
  });
}

/** The live processes that were started with this entry (`NAME=value`) in their environment; the asker is left out. */
export function carriersOf(entry: string): number[] {
  return allPids().filter((pid) => pid !== process.pid && `\0${read(pid, 'environ')}`.includes(`\0${entry}\0`));
}

/** Has it a handler of its own for this signal? Unknown (no /proc) counts as no. */
export function catchesSignal(pid: number, signal: NodeJS.Signals): boolean {
  const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(read(pid, 'status'))?.[1];
  return mask !== undefined && ((BigInt(`0x${mask}`) >> BigInt(os.constants.signals[signal] - 1)) & 1n) === 1n;
}

/** Command line, word by word. */
export function commandOf(pid: number): string[] {
  return read(pid, 'cmdline').split('\0').slice(0, -1);
}

/** Is this process in the background of its terminal? Reading the terminal would stop it (SIGTTIN). */
export function isInBackground(): boolean {
  const text = read('self', 'stat');
  const [, , group, , , foreground] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return text !== '' && Number(foreground) > 0 && group !== foreground;
}

function answers(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
