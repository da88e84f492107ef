/**
 * The agent's second: ends everything of the job on this host when the agent is gone without having said that it is done.
 *
 * A process of its own, in its own session, joined to the agent by a pipe on stdin: whatever ends the agent closes the pipe. It is told the job's part
 * first, then process groups as they come (`+pid`) and go (`-pid`, so that a number used anew is never killed). Lines, no answers.
 */

import { removeJobFolder } from './key_file';
import { endCarriers, jobMark, signalGroup } from './process';

const groups = new Set<number>();
let part = '';
let isDone = false;

function hear(line: string): void {
  const [word = '', value = ''] = line.split(' ');
  if (word === 'job') part = value;
  else if (word === 'done') isDone = true;
  else if (/^\+\d+$/.test(word)) groups.add(Number(word.slice(1)));
  else if (/^-\d+$/.test(word)) groups.delete(Number(word.slice(1)));
}

async function cleanUp(): Promise<void> {
  if (isDone || part === '') return;
  for (const group of groups) signalGroup(group, 'SIGKILL');
  await endCarriers(jobMark(part).entry);
  removeJobFolder(part);
}

// It ends when its agent does; until then no signal but SIGKILL ends it, and none opens the inspector.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => {});
let rest = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (text: string) => {
  const lines = (rest + text).split('\n');
  rest = lines.pop()!;
  for (const line of lines) hear(line);
});
const finish = (): void => void cleanUp().finally(() => process.exit(0));
process.stdin.on('end', finish);
process.stdin.on('error', finish);
