/**
 * Stays until something ends it; says that it is there by a file `ready-RANK` with its pid. Arguments: a folder, then habits: `deaf` ignores SIGTERM (and says `heard-RANK`), `child` starts a process that ignores it too, `orphan` one in a session of its own whose parent is gone,
 * `usr` writes a file for each SIGUSR1 and SIGUSR2, `slow` cleans up for a second and writes `clean-RANK`, `slower` for four, `brief` ends well after half a second; `N:habit` is rank N's only.
 */
import { spawn } from 'node:child_process';
import { put } from '../helpers/put';

const [folder = '', ...words] = process.argv.slice(2);
const rank = process.env.HOROVOD_RANK ?? '';
const habits = words.map((word) => (/^\d+:/.test(word) ? (word.startsWith(`${rank}:`) ? word.replace(/^\d+:/, '') : '') : word));
const has = (habit: string): boolean => habits.includes(habit);

if (has('deaf')) for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => put(folder, `heard-${rank}`, ''));
if (has('slow') || has('slower'))
  process.on('SIGTERM', () =>
    setTimeout(
      () => {
        put(folder, `clean-${rank}`, '');
        process.exit(0);
      },
      has('slow') ? 1000 : 4000,
    ),
  );
if (has('usr')) for (const signal of ['SIGUSR1', 'SIGUSR2']) process.on(signal, () => put(folder, `${signal}-${rank}`, ''));
if (has('child')) spawn(process.execPath, ['-e', "process.on('SIGTERM', () => {}); setTimeout(() => {}, 60000)"], { stdio: 'ignore' });
if (has('orphan')) spawn('sh', ['-c', '(setsid sh -c \'trap "" TERM HUP INT; sleep 300\' &)'], { stdio: 'ignore' });
if (has('brief')) setTimeout(() => process.exit(0), 500);
setTimeout(() => process.exit(99), 60_000);
put(folder, `ready-${rank}`, String(process.pid));
