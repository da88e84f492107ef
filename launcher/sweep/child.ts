/**
 * The sweep's end of one of its jobs' line: what `tsrun run-of-sweep` says to the process that started it, and that it ends with that one. tsrun's process of the job.
 *
 * Node's channel (IPC) is that line: it closes whatever ends the sweep, SIGKILL too, and neither agents nor ranks inherit it.
 */
import type { JobObserver } from '../job';
import type { RunMessage } from './messages';

/** Until the sweep has taken the last message; it may hang. */
const TAKEN_MS = 2000;

function send(message: RunMessage): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, TAKEN_MS).unref();
    if (process.send) process.send(message, undefined, undefined, () => resolve());
    else resolve();
  });
}

export const toSweep: JobObserver = {
  onReport: (rank, json) => void send({ kind: 'report', rank, json }),
  onEnd: (exitCode, lines) => send({ kind: 'end', exitCode, lines }),
};

export function onceSweepIsGone(act: () => void): void {
  if (process.connected) process.once('disconnect', act);
  else act();
}
