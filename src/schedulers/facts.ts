/** Looks up what the readers of this folder ask for; the only file of it that looks at the machine. Main thread. */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import type { Facts } from './identity';

/** Set for each rank by the process that started it, and inherited by whatever stands between: a shell, npm, a profiler. */
const RANK_VARIABLE = /(^|\0)(PMI_RANK|MV2_COMM_WORLD_RANK|OMPI_COMM_WORLD_RANK)=/;
const MOST_ANCESTORS = 64;

export const factsOfThisProcess: Facts = {
  hostname: os.hostname(),
  hostsFile: () => textOf('/etc/hosts'),
  launcherPid() {
    let pid = process.ppid;
    for (let i = 0; i < MOST_ANCESTORS && RANK_VARIABLE.test(textOf(`/proc/${pid}/environ`)); i += 1) {
      const stat = textOf(`/proc/${pid}/stat`);
      // The name in brackets may hold anything.
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
      if (!(parent > 1)) break;
      pid = parent;
    }
    return pid;
  },
};

/** '': not there, or not to be read. Without /proc the parent is taken for the launcher. */
function textOf(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
