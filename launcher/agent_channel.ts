/**
 * What carries the bytes between tsrun and an agent: the pipes of a process of this machine, or a channel of an ssh connection. tsrun's process.
 *
 * `onEnd` is called once, after the last byte that came, with how it ended: for a sentence that begins with the agent's name.
 */
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { environment } from '../src/config';
import { onceEnded, signalProcess, startProcess } from './process';
import type { SshConnection } from './ssh/client';

export interface AgentChannel {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Where the agent is found, for the user: its pid, or that it is reached by ssh. */
  readonly where: string;
  onEnd(end: (how: string) => void): void;
  /** Ends the agent at once; its reaper does the rest. */
  kill(): void;
}

const agentFile = path.join(__dirname, 'agent.js');

export function localChannel(): AgentChannel {
  const child = startProcess({ argv: [process.execPath, agentFile], env: environment(), stdin: 'pipe', stdout: 'pipe', stderr: 'pipe' });
  return {
    stdin: child.stdin!,
    stdout: child.stdout!,
    stderr: child.stderr!,
    where: `pid ${child.pid ?? 'none'}`,
    onEnd: (end) => onceEnded(child, 'close', end),
    kill: () => {
      if (child.pid !== undefined) signalProcess(child.pid, 'SIGKILL');
    },
  };
}

/** Exit codes of what is run on a host to start its agent. */
const NO_FOLDER = 90;
const NO_PACKAGE = 91;

/**
 * By the user's login shell, so that node is found as it is in a terminal; the package is that of the working folder, or stands where it stands here.
 *
 * @throws LaunchError (exit 3) the host refuses to run anything
 */
export async function sshChannel(connection: SshConnection, host: string, wdir: string): Promise<AgentChannel> {
  const program =
    `const {createRequire}=require('node:module'),p=require('node:path');let a;` +
    `try{a=p.join(p.dirname(createRequire(process.cwd()+'/x.js').resolve('khorovod')),'..','launcher','agent.js')}catch{a=${JSON.stringify(agentFile)}}` +
    `if(require('node:fs').existsSync(a)){process.argv[1]=a;require(a)}else process.exitCode=${NO_PACKAGE}`;
  const script = `cd ${quoted(wdir)} || exit ${NO_FOLDER}; exec node -e ${quoted(program)}`;
  const channel = await connection.run(`exec "\${SHELL:-/bin/sh}" -lc ${quoted(script)}`, host);
  const onEnd = (end: (how: string) => void): void => {
    let how = 'lost its connection';
    channel.on('exit', (code: number | null, signal?: string) => {
      how = signal ? `was ended by ${signal}` : (meanings[code ?? 0] ?? `ended with exit code ${code}`);
    });
    channel.on('close', () => end(how));
  };
  return { stdin: channel.stdin, stdout: channel, stderr: channel.stderr, where: 'by ssh', onEnd, kill: () => connection.destroy() };
}

const meanings: Readonly<Record<number, string>> = {
  [NO_FOLDER]: 'found no such working folder there: make it, or name another one with --wdir',
  [NO_PACKAGE]: 'found no khorovod there, neither in the working folder nor where it is here: npm install khorovod on that host',
  127: 'found no node there: install it, or put it into the PATH of a login shell',
};

/** For a POSIX shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
