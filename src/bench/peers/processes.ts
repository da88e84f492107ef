/**
 * Runs the programs of a comparison: the one home of child_process outside the launcher. The comparing process.
 *
 * All stay in that process's group, which is ended as a whole when tsrun is. Every run has a deadline; one that fails fails its companions.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { environment } from '../../config';

/** For all sizes of one library once. */
const RUN_LIMIT_MS = 30 * 60_000;
/** Between asking a program to end and ending it. */
const GRACE_MS = 5_000;
const SHOWN_CHARACTERS = 600;

export interface Program {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** The caller's environment without what a launcher set. */
const cleanEnvironment = (): Record<string, string> =>
  Object.fromEntries(
    Object.entries(environment()).filter(([name]) => !/^(HOROVOD_(RANK|SIZE|LOCAL|CROSS)|TSRUN_(RENDEZVOUS|JOB_ID))/.test(name)),
  );

/** @returns what each has written to stdout @throws Error one could not be started, failed (with its last lines), or did not end in time */
export async function runTogether(programs: readonly Program[], limitMs = RUN_LIMIT_MS): Promise<string[]> {
  const children: ChildProcess[] = [];
  const end = (): void => {
    for (const child of children) endProcess(child);
  };
  const timer = setTimeout(end, limitMs);
  try {
    return await Promise.all(
      programs.map(async (program) => {
        try {
          return await runOne(program, children, limitMs);
        } catch (error) {
          end();
          throw error;
        }
      }),
    );
  } finally {
    clearTimeout(timer);
  }
}

/** @throws as runTogether */
export async function runAlone(program: Program, limitMs?: number): Promise<string> {
  return (await runTogether([program], limitMs))[0]!;
}

function runOne({ argv, env }: Program, children: ChildProcess[], limitMs: number): Promise<string> {
  const [command = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: { ...cleanEnvironment(), ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    children.push(child);
    const text = { out: '', err: '' };
    child.stdout.setEncoding('utf8').on('data', (part: string) => (text.out += part));
    child.stderr.setEncoding('utf8').on('data', (part: string) => (text.err += part));
    child.on('error', (error) => reject(new Error(`${command} could not be started: ${error.message}`)));
    child.on('close', (code, signal) => {
      if (code === 0) resolve(text.out);
      else {
        const last = text.err.trim().slice(-SHOWN_CHARACTERS);
        const how = signal ? `was ended by ${signal} (it has ${limitMs / 1000} s)` : `ended with exit code ${code}`;
        reject(new Error(`${command} ${how}${last === '' ? '' : `:\n${last}`}`));
      }
    });
  });
}

function endProcess(child: ChildProcess): void {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  setTimeout(() => child.kill('SIGKILL'), GRACE_MS).unref();
}
