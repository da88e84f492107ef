/** `tsrun bench --compare`: runs the program that compares, and what it has started ends with it. tsrun's process. */
import { onceExited, signalGroup, startProcess } from './process';

/** The exit code. */
export async function compare(argv: readonly string[], env: Record<string, string>): Promise<number> {
  // Its stdin closes whatever ends this process: then it ends all that it has started.
  const child = startProcess({ argv, env, stdin: 'pipe', stdout: 1, stderr: 2 });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      if (child.pid !== undefined) signalGroup(child.pid, signal);
    });
  return onceExited(child);
}
