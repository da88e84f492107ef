/** Starts the tsrun of this build as a user would, and watches all its processes by a mark in their environment. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { endProcess, type Found, processesWith, until } from './processes';

const root = path.join(__dirname, '..', '..');
export const worker = (name: string): string => path.join(root, 'test', 'workers', name);

/** When what a job leaves must be gone: some seconds, thrice as many where the machine is busy. */
export const LEFT_MS = 15_000;

export interface Options {
  env?: Record<string, string>;
  cwd?: string;
  stdin?: string;
  /** Makes the command line that runs another one elsewhere. */
  under?: (words: readonly string[]) => readonly string[];
}

/** The caller's environment without what a launcher set. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(HOROVOD|TSRUN)_/.test(name)));
}

let jobs = 0;
const running = new Set<number>();
// A test that fails in the middle leaves its job to nobody; tsrun's agent ends the rest.
process.on('exit', () => {
  for (const pid of running) process.kill(pid, 'SIGKILL');
});

export class Job {
  /** For files of the job's processes. */
  readonly folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-job-'));
  readonly child: ChildProcess;
  out = '';
  err = '';
  isRunning = true;
  private readonly mark = `KHOROVOD_TEST_JOB_${process.pid}_${(jobs += 1)}`;
  private readonly ended: Promise<number>;

  /** `@` in an argument stands for the job's folder. */
  constructor(args: readonly string[], { env, cwd, stdin, under = (words) => words }: Options = {}) {
    const words = args.map((word) => word.replaceAll('@', this.folder));
    const [command, ...rest] = under([process.execPath, path.join(root, 'launcher', 'tsrun.js'), ...words]);
    this.child = spawn(command!, rest, {
      cwd,
      env: { ...cleanEnvironment(), ...env, [this.mark]: '1' },
      stdio: [stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      detached: true,
    });
    this.child.stdin?.on('error', () => {});
    this.child.stdin?.end(stdin);
    this.child.stdout!.setEncoding('utf8').on('data', (text) => {
      this.out += text;
    });
    this.child.stderr!.setEncoding('utf8').on('data', (text) => {
      this.err += text;
    });
    running.add(this.pid);
    this.ended = new Promise((resolve) => {
      this.child.on('exit', (code, signal) => {
        this.isRunning = false;
        running.delete(this.pid);
        const status = code ?? 128 + os.constants.signals[signal!];
        const timer = setTimeout(() => resolve(status), 5000); // an orphan may hold the pipes
        this.child.on('close', () => {
          clearTimeout(timer);
          resolve(status);
        });
      });
    });
  }

  get pid(): number {
    return this.child.pid!;
  }
  /** What a shell would see; −1: it had not ended. */
  status(timeoutMs = 60_000): Promise<number> {
    let timer: NodeJS.Timeout;
    const late = new Promise<number>((resolve) => {
      timer = setTimeout(() => resolve(-1), timeoutMs);
    });
    return Promise.race([this.ended, late]).finally(() => clearTimeout(timer));
  }
  /** Live processes of the job, tsrun included. */
  processes(): Found[] {
    return processesWith(this.mark);
  }
  /** The one with this in its command line. */
  pidOf(part: string): number {
    return this.processes().find(({ command }) => command.includes(part))?.pid ?? Number.NaN;
  }
  /** Waits for files that processes of the job write into its folder. @throws they do not come */
  async files(pattern: RegExp, count: number, timeoutMs = 60_000): Promise<string[]> {
    const found = () => readdirSync(this.folder).filter((name) => pattern.test(name));
    if (!(await until(() => found().length >= count || !this.isRunning, timeoutMs)) || found().length < count)
      throw new Error(`${found().length} of ${count} files ${pattern}; stderr: ${this.err}`);
    return found();
  }
  read(name: string): string {
    return readFileSync(path.join(this.folder, name), 'utf8');
  }
  /** Tells the job's processes something, by a file that they look for. */
  put(name: string): void {
    writeFileSync(path.join(this.folder, name), '');
  }
  /** What is left after at most so long; it is ended, and the folder removed. */
  async leftAfter(timeoutMs = LEFT_MS): Promise<string[]> {
    await until(() => this.processes().length === 0, timeoutMs);
    const left = this.processes();
    for (const { pid } of left) endProcess(pid);
    rmSync(this.folder, { recursive: true, force: true });
    return left.map(({ command }) => command);
  }
}

/** A whole job. */
export async function runJob(args: readonly string[], options: Options = {}, timeoutMs = 120_000) {
  const job = new Job(args, options);
  const status = await job.status(timeoutMs);
  const left = await job.leftAfter(status < 0 ? 0 : LEFT_MS);
  return { status, out: job.out, err: job.err, left };
}
