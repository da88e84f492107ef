/** Runs programs that start ranks, or ranks themselves, in an environment without what any launcher has set. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import path from 'node:path';

export const meets = path.join(__dirname, '..', 'workers', 'meets.js');

const OF_LAUNCHERS =
  /^(HOROVOD|TSRUN|SLURM|OMPI|PMIX?|PRTE|MPI|MV2|PET|TORCHELASTIC|KUBERNETES)_|^(RANK|WORLD_SIZE|LOCAL_RANK|LOCAL_WORLD_SIZE|MASTER_ADDR|MASTER_PORT|JOB_COMPLETION_INDEX)$/;
export const plainEnvironment = (): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !OF_LAUNCHERS.test(name)));

export interface Started {
  status: number | null;
  out: string;
  err: string;
}
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const { pid } of running) process.kill(-pid!, 'SIGKILL');
});

/** Ends with its process group after `timeoutMs`: status null. */
export function start(command: string, args: readonly string[], env: Record<string, string> = {}, timeoutMs = 120_000): Promise<Started> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: { ...plainEnvironment(), ...env }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let [out, err] = ['', ''];
    running.add(child);
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
    const timer = setTimeout(() => process.kill(-child.pid!, 'SIGKILL'), timeoutMs);
    child.on('error', reject);
    child.on('close', (status) => {
      clearTimeout(timer);
      running.delete(child);
      resolve({ status, out, err });
    });
  });
}

export interface Met {
  generation: number;
  rank: number;
  size: number;
  local: [number, number];
  cross: [number, number];
  homogeneous: boolean;
  host: string;
  sum: number;
}
/** The lines of meets.ts, in the order of generations and ranks. */
export function metIn(out: string): Met[] {
  const lines = out.split('\n').filter((line) => line.startsWith('{'));
  return lines.map((line) => JSON.parse(line) as Met).sort((a, b) => a.generation - b.generation || a.rank - b.rank);
}

/** Why a program cannot be run; undefined: it can. */
export function whyNot(...programs: string[]): string | undefined {
  const missing = programs.filter((program) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0);
  return missing.length > 0 ? `needs ${missing.join(', ')}` : undefined;
}
