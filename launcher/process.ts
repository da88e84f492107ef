/**
 * Starting and ending processes: the one home of child_process.
 *
 * tsrun, agent and reaper. Everything is started in a session of its own, so that a terminal's Ctrl-C reaches tsrun alone, and a rank's process group
 * is the rank and what it started. Groups are ended as groups, never by walking a tree of parents; what left its group is found by the job's mark in
 * its environment, and only what carries that mark is ever killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, closeSync, constants, existsSync, openSync, readSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { carriersOf } from './process_table';

export type { ChildProcess };

/** As much of a script's first line as the kernel reads. */
const LONGEST_INTERPRETER = 256;

export interface ProcessSpec {
  argv: readonly string[];
  env: Record<string, string>;
  cwd?: string;
  /** 'null': reads end of file, writes go nowhere. */
  stdin: 'pipe' | 'null';
  /** A number: an open file. */
  stdout: 'pipe' | 'null' | number;
  stderr: 'pipe' | 'null' | number;
  /** It is a Node program that talks to this one over Node's channel. */
  hasChannel?: boolean;
}

/** Starts it as leader of a session and a process group of its own (its pid names the group). Failure comes as the 'error' event. */
export function startProcess({ argv, env, cwd, stdin, stdout, stderr, hasChannel }: ProcessSpec): ChildProcess {
  const [command, ...args] = argv;
  const kind = (end: 'pipe' | 'null' | number) => (end === 'null' ? 'ignore' : end);
  const channel = hasChannel ? (['ipc'] as const) : [];
  return spawn(command!, args, { env, cwd, detached: true, stdio: [kind(stdin), kind(stdout), kind(stderr), ...channel] });
}

/**
 * Calls back once, when the process has ended or could not be started, with how: for a sentence that begins with its name.
 * @param event 'close' comes after everything it said has been read
 */
export function onceEnded(
  child: ChildProcess,
  event: 'exit' | 'close',
  onEnd: (how: string) => void,
  describeExit = (code: number): string => `ended with exit code ${code}`,
): void {
  let isTold = false;
  const end = (how: string): void => {
    if (!isTold) onEnd(how);
    isTold = true;
  };
  child.on('error', (error) => end(`could not be started: ${error.message}`));
  child.on(event, (code: number | null, signal: NodeJS.Signals | null) => end(signal ? `was ended by ${signal}` : describeExit(code ?? 0)));
}

/** The exit code, 128 + signal, or 127 where it could not be started. */
export function onceExited(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    child.on('error', () => resolve(127));
    child.on('exit', (code, signal) => resolve(code ?? 128 + os.constants.signals[signal!]));
  });
}

/** Runs a short program to its end. @param signal ends it before, with what it started */
export function runToEnd(
  argv: readonly string[],
  env: Record<string, string>,
  timeoutMs: number,
  { cwd, signal }: { cwd?: string; signal?: AbortSignal } = {},
): Promise<{ isOk: boolean; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = startProcess({ argv, env, cwd, stdin: 'null', stdout: 'pipe', stderr: 'pipe' });
    const kill = (): void => void (child.pid !== undefined && signalGroup(child.pid, 'SIGKILL'));
    signal?.addEventListener('abort', kill);
    const text = { out: '', err: '' };
    child.stdout!.setEncoding('utf8').on('data', (part: string) => (text.out += part));
    child.stderr!.setEncoding('utf8').on('data', (part: string) => (text.err += part));
    const timer = setTimeout(() => {
      text.err += `\nit did not end within ${timeoutMs / 1000} s and was ended`;
      kill();
    }, timeoutMs);
    const finish = (isOk: boolean): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', kill);
      resolve({ isOk, ...text });
    };
    child.on('error', (error) => {
      text.err += error.message;
      finish(false);
    });
    child.on('close', (code) => finish(code === 0));
  });
}

/** Why this command cannot be started from this folder, or undefined when it can: asked before anything of the job runs. */
export function whyNotStartable(command: string, searchPath: string, cwd: string): string | undefined {
  try {
    if (!statSync(cwd).isDirectory()) return `the working directory ${cwd} is no folder`;
  } catch (error) {
    return `the working directory ${cwd} cannot be entered (${(error as NodeJS.ErrnoException).code})`;
  }
  const places = command.includes('/')
    ? [path.resolve(cwd, command)]
    : searchPath.split(':').map((folder) => path.resolve(cwd, folder, command));
  let problem = command.includes('/') ? 'there is no such file' : 'no folder of PATH has it';
  for (const place of places) {
    try {
      if (!statSync(place).isFile()) continue;
      accessSync(place, constants.X_OK);
      return whyNotInterpretable(place);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EACCES') problem = `${place} may not be executed`;
    }
  }
  return `the command '${command}' was not found: ${problem}`;
}

/** A script's first line names the program that runs it. */
function whyNotInterpretable(script: string): string | undefined {
  const start = Buffer.alloc(LONGEST_INTERPRETER);
  let bytes: number;
  try {
    const file = openSync(script, 'r');
    bytes = readSync(file, start);
    closeSync(file);
  } catch {
    return undefined; // it may be executed without being readable
  }
  const interpreter = /^#!\s*(\/\S+)/.exec(start.toString('latin1', 0, bytes))?.[1];
  if (interpreter === undefined || existsSync(interpreter)) return undefined;
  return `the command '${script}' is a script for ${interpreter}, which is not there`;
}

/** False when nobody is there. */
export function signalGroup(group: number, signal: NodeJS.Signals): boolean {
  return signalProcess(-group, signal);
}

/** False when nobody is there. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/**
 * The mark of a job's part on one host, an environment entry of all its processes. Its name is the part's own, so that the processes of a tsrun that a rank started carry both jobs' marks and end
 * with either.
 */
export function jobMark(part: string): { name: string; entry: string } {
  const name = `TSRUN_JOB_${part}`;
  return { name, entry: `${name}=1` };
}

/** SIGKILL to every process that carries the entry (`NAME=value`) in its environment, again until there is none. @returns those left at the deadline */
export async function endCarriers(entry: string, timeoutMs = 3000): Promise<number[]> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    const found = carriersOf(entry);
    if (found.length === 0 || performance.now() > endMs) return found;
    for (const pid of found) signalProcess(pid, 'SIGKILL');
    await pause(10);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
