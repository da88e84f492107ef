/**
 * What carries the bytes between tsrun and an agent: the pipes of a process of this machine (the agent itself, or a program that reaches the host), or a channel of an ssh connection. tsrun's process.
 *
 * Whatever ends it is told by `ended` alone, a program that cannot be started too.
 */
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { environment } from '../src/config';
import { describeExit } from './agent_command';
import { onceEnded, signalGroup, signalProcess, startProcess } from './process';
import type { SshConnection } from './ssh/client';

/** What is started on a host: files of this folder. A reaper without an agent ends what a job has left there. */
export type Program = 'agent.js' | 'reaper.js';

export interface AgentChannel {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Where the agent is found, for the user: its pid, or that it is reached by ssh. */
  readonly where: string;
  /** After the last byte that came: how it ended, for a sentence that begins with the agent's name. */
  readonly ended: Promise<string>;
  /** Ends the agent at once; its reaper does the rest. */
  kill(): void;
}

export function localChannel(file: Program): AgentChannel {
  const child = startProcess({
    argv: [process.execPath, path.join(__dirname, file)],
    env: environment(),
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
  });
  return {
    stdin: child.stdin!,
    stdout: child.stdout!,
    stderr: child.stderr!,
    where: `pid ${child.pid ?? 'none'}`,
    ended: new Promise((resolve) => onceEnded(child, 'close', resolve)),
    kill: () => {
      if (child.pid !== undefined) signalProcess(child.pid, 'SIGKILL');
    },
  };
}

/** @throws LaunchError (exit 3) the host refuses to run anything */
export async function sshChannel(connection: SshConnection, host: string, command: string): Promise<AgentChannel> {
  const channel = await connection.run(command, host);
  const ended = new Promise<string>((resolve) => {
    let how = 'lost its connection';
    channel.on('exit', (code: number | null, signal?: string) => {
      how = signal ? `was ended by ${signal}` : describeExit(code ?? 0);
    });
    channel.on('close', () => resolve(how));
  });
  return { stdin: channel.stdin, stdout: channel, stderr: channel.stderr, where: 'by ssh', ended, kill: () => connection.destroy() };
}

/** By a program that runs a command on a host (ssh, kubexec, srun): its pipes are the channel. */
export function programChannel(argv: readonly string[]): AgentChannel {
  const child = startProcess({ argv, env: environment(), stdin: 'pipe', stdout: 'pipe', stderr: 'pipe' });
  return {
    stdin: child.stdin!,
    stdout: child.stdout!,
    stderr: child.stderr!,
    where: `by ${argv[0]}`,
    ended: new Promise((resolve) => onceEnded(child, 'close', resolve, describeExit)),
    // With all that it has started: a script that stays alive would hold the channel open.
    kill: () => {
      if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
    },
  };
}
