/**
 * The ways in which a job on several hosts is ended from outside, each with what must come of it: the exit code of tsrun, what its last lines name, which hosts nobody can reach meanwhile.
 */
import type { BedHost } from './bed_host';
import { until, variableOf } from './processes';
import type { TestBed } from './test_bed';
import { type Job, LEFT_MS } from './tsrun';

export const PEER_TIMEOUT_S = 3;
/** What may pass until a host that was cut off has noticed and ended all. */
export const CUT_OFF_MS = PEER_TIMEOUT_S * 1000 + LEFT_MS;

export interface Scene {
  readonly bed: TestBed;
  readonly job: Job;
  /** A host of the job that is not the launcher's. */
  readonly host: BedHost;
}

export interface Ending {
  readonly name: string;
  /** @returns what the last lines of tsrun must name; undefined: tsrun cannot say anything any more */
  act(scene: Scene): Promise<RegExp | undefined> | RegExp | undefined;
  readonly status: number;
  /** Nobody can reach the host: it is noticed by the length of the silence. */
  readonly isCutOff?: true;
  /** It is noticed by its length, though the host is there. */
  readonly isSilent?: true;
  /** Needs a job that runs already. */
  readonly needsRanks?: true;
}

/** It may just have been started. */
const tsrunOf = async ({ bed }: Scene): Promise<number> =>
  (await until(() => bed.here.pidOf(/^\S*node \S*launcher\/tsrun\.js/), 20_000)) ?? Number.NaN;
const kill = (pid: number, signal: NodeJS.Signals = 'SIGKILL'): void => {
  if (Number.isNaN(pid)) throw new Error('the process that is to be ended is not there');
  process.kill(pid, signal);
};
const isSshSession = (command: string): boolean => /^sshd(-session)?: /.test(command);
const names = (host: BedHost, ...more: string[]): RegExp => new RegExp([`host ${host.name}\\b`, ...more].join('[\\s\\S]*'));

/** Of that host, by their pids here. */
export function ranksOf(host: BedHost): Array<{ pid: number; rank: string }> {
  return host.processes().flatMap(({ pid, command }) => {
    const rank = variableOf(pid, 'HOROVOD_RANK');
    return rank !== undefined && /^\S*node .*test\/workers\//.test(command) ? [{ pid, rank }] : [];
  });
}

const signalled = (name: NodeJS.Signals, status: number): Ending => ({
  name: `${name} to tsrun`,
  status,
  act: async (scene) => {
    kill(await tsrunOf(scene), name);
    return new RegExp(`ended by ${name}`);
  },
});

/** Every cable of a host is pulled out and stays so; it is put back by who looks at what is left. */
const away = (name: string, status: number, act: Ending['act']): Ending => ({ name, status, act, isCutOff: true });

export const endings: readonly Ending[] = [
  {
    name: 'SIGKILL of a rank',
    status: 137,
    needsRanks: true,
    act: ({ host }) => {
      const [{ pid, rank }] = ranksOf(host) as [{ pid: number; rank: string }];
      kill(pid);
      return new RegExp(`rank ${rank} on host ${host.name} was ended by signal SIGKILL`);
    },
  },
  {
    name: 'SIGKILL of tsrun',
    status: 137,
    act: async (scene) => {
      kill(await tsrunOf(scene));
      return undefined;
    },
  },
  {
    name: 'SIGKILL of an agent',
    status: 1,
    needsRanks: true,
    act: ({ host }) => {
      kill(host.pidOf(/^\S*node [\s\S]*\bagent\.js/));
      return names(host, 'SIGKILL');
    },
  },
  {
    name: 'SIGKILL of a reaper',
    status: 1,
    needsRanks: true,
    act: ({ host }) => {
      kill(host.pidOf(/^\S*node .*reaper\.js/));
      return names(host, 'reaper');
    },
  },
  {
    name: 'SIGKILL of an agent and of its reaper',
    status: 1,
    needsRanks: true,
    act: ({ host }) => {
      const both = [host.pidOf(/^\S*node [\s\S]*\bagent\.js/), host.pidOf(/^\S*node .*reaper\.js/)];
      for (const pid of both) kill(pid);
      return names(host, 'SIGKILL|reaper');
    },
  },
  {
    name: 'SIGSTOP of an agent',
    status: 1,
    needsRanks: true,
    isSilent: true,
    act: ({ host }) => {
      kill(host.pidOf(/^\S*node [\s\S]*\bagent\.js/), 'SIGSTOP');
      return names(host);
    },
  },
  {
    name: 'SIGKILL of an ssh session on its host',
    status: 1,
    needsRanks: true,
    act: ({ host }) => {
      const sessions = host.processes().filter(({ command }) => isSshSession(command));
      if (sessions.length === 0) throw new Error('there is no session');
      for (const { pid } of sessions) kill(pid);
      return names(host);
    },
  },
  away('power loss of a host', 1, async ({ host }) => {
    await host.kill();
    return names(host);
  }),
  away('a cut of a host', 1, ({ host }) => {
    host.cut();
    return names(host);
  }),
  away('power loss of the launcher’s host', 137, async ({ bed }) => {
    await bed.here.kill();
    return undefined;
  }),
  signalled('SIGINT', 130),
  signalled('SIGTERM', 143),
  signalled('SIGHUP', 129),
];

/** What went otherwise than it must, in words; the bed is whole again afterwards. */
export async function endBy(ending: Ending, scene: Scene, { isStarting = false } = {}): Promise<string[]> {
  const { bed, job } = scene;
  const wrong: string[] = [];
  const cause = await ending.act(scene);
  const fromMs = performance.now();
  const status = await job.status(90_000);
  // While it starts a host is not reached, instead of lost.
  const right = isStarting && ending.status === 1 ? [1, 3] : [ending.status];
  if (!right.includes(status)) wrong.push(`exit code ${status}, not ${right.join(' or ')}`);
  const last = job.err.trimEnd().split('\n').slice(-12).join('\n');
  if (cause && !isStarting && !cause.test(last)) wrong.push(`its last lines do not say ${cause}`);
  const waitMs = Math.max(LEFT_MS, ending.isCutOff || ending.isSilent ? fromMs + CUT_OFF_MS - performance.now() : 0);
  // A session of sshd on a host that was cut off waits for its client; that is sshd's own business.
  const left = await bed.leftAfter(waitMs, bed.hosts, ending.isCutOff ? isSshSession : undefined);
  if (left.length > 0) wrong.push(`left behind: ${left.join(', ')}`);
  if (wrong.length > 0) wrong.push(`stderr: ${job.err}`);
  await job.leftAfter(0);
  for (const host of bed.hosts) {
    if (!host.isOn) await host.start();
    else if (ending.isCutOff) host.heal();
  }
  // Also the folders of hosts that lost their power, and could not tidy up.
  await bed.leftAfter(0);
  return wrong;
}
