/**
 * One job from start to end: serves the rendezvous, has the agents start the ranks, shows what they say, ends them when something ends the job. tsrun's process.
 *
 * What ends a job, and with which code, is decided in report.ts; this file carries it out. Invariants: the exit code is known only when every agent has said that nothing of the
 * job is left on its host, or is gone itself and its processes have been ended here; every wait has a deadline.
 */
import { randomBytes } from 'node:crypto';
import { knobs } from '../src/config';
import { HOSTS_KEY } from '../src/rendezvous/join';
import { StoreServer } from '../src/rendezvous/server';
import { version } from '../src/version';
import type { khorovod } from '../src/wire/generated/messages';
import { AgentLink } from './agent_link';
import type { RunRequest } from './args';
import { Console } from './console';
import type { Assignment } from './hosts';
import { removeJobFolder } from './key_file';
import { type Devices, pinningOf } from './pinning';
import { endCarriers, jobMark } from './process';
import type { Place, Reached } from './reach';
import {
  describeEnd,
  type Ending,
  firstFailure,
  jobExitCode,
  nameOf,
  type RankEnd,
  reportLine,
  reportLines,
  waitBeforeEndingMs,
} from './report';
import { StdinFeed } from './stdin_feed';

const GRACE_MS = 5000;
/** After the grace and SIGKILL: an agent that does not come to its end is ended itself, and its reaper does the rest. */
const AGENT_END_MS = 8000;
/** Output that agents may send ahead of what has left tsrun. */
const OUTPUT_CREDIT_BYTES = 1 << 20;
/** Npm passes a Ctrl-C on that the terminal has delivered already. */
const SAME_SIGNAL_MS = 150;

export type EndSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

export class Job {
  private readonly jobId = randomBytes(16).toString('hex');
  private readonly key = randomBytes(32);
  private readonly display: Console;
  /** By label: the processors it was bound to. */
  private readonly cpusOf = new Map<string, readonly number[]>();
  /** Those that have not ended. */
  private readonly agents = new Map<AgentLink, Place>();
  /** What the agents that have begun have said of their hosts. */
  private readonly readies = new Map<AgentLink, khorovod.AgentReady.$Properties>();
  private readonly stdin?: StdinFeed;
  private readonly ends: RankEnd[] = [];
  private reached?: Reached;
  private store?: StoreServer;
  private isEnding = false;
  private isOver = false;
  private ending?: Ending;
  private startTimer?: NodeJS.Timeout;
  private endingTimer?: NodeJS.Timeout;
  private lastSignalMs = Number.NEGATIVE_INFINITY;
  private readonly timers = new Set<NodeJS.Timeout>();
  private resolve!: () => void;

  /** @throws LaunchError (exit 2) the folder for the output cannot be made */
  constructor(
    private readonly request: RunRequest,
    private readonly assignments: readonly Assignment[],
    private readonly argv: readonly string[],
    /** Reaches the hosts. */
    private readonly reach: () => Promise<Reached>,
  ) {
    const labels = assignments.map(({ rank }) => String(rank));
    this.display = new Console({ labels, prefix: request.hasPrefix, timestamp: request.hasTimestamp, outputFolder: request.outputFolder });
    if (request.forwardsStdin) this.stdin = new StdinFeed((data, end) => this.sendAll({ stdin: { data, end } }));
  }

  /** @returns the exit code of tsrun */
  async run(): Promise<number> {
    const over = new Promise<void>((resolve) => {
      this.resolve = resolve;
    });
    for (const notice of this.request.notices) this.display.say(`tsrun: warning: ${notice}`);
    const { timeoutSeconds } = this.request;
    if (timeoutSeconds !== undefined)
      this.after(timeoutSeconds * 1000, () => this.endBy({ kind: 'timeout', seconds: timeoutSeconds }, GRACE_MS));
    this.start().catch((error: Error) => this.endBy({ kind: 'cannot-start', text: error.message }, 0));
    await over;
    for (const timer of this.timers) clearTimeout(timer);
    this.reached?.close();
    return this.conclude();
  }

  /** Meanwhile something may end the job: nothing is waited for then. */
  private async start(): Promise<void> {
    this.reached = await this.reach();
    this.store = await StoreServer.start({
      jobId: this.jobId,
      key: this.key,
      host: this.reached.address,
      portRange: this.request.portRange,
      size: this.assignments.length,
      onReport: (rank, json) => this.display.say(reportLine(rank, json)),
    });
    this.store.put(HOSTS_KEY, Buffer.from(JSON.stringify(this.assignments.map(({ host }) => host))));
    await this.startAgents(this.reached.places);
  }

  /** The first ends the job with grace, a second one at once. */
  signal(name: EndSignal): void {
    const nowMs = performance.now();
    if (nowMs - this.lastSignalMs < SAME_SIGNAL_MS) return;
    this.lastSignalMs = nowMs;
    if (this.isOver) this.display.abandon();
    this.endBy({ kind: 'signal', signal: name }, this.ending?.kind === 'signal' ? 0 : GRACE_MS);
  }

  forward(signal: 'SIGUSR1' | 'SIGUSR2'): void {
    this.sendAll({ signal: { signal } });
  }

  // ───── agents ─────

  private async startAgents(places: readonly Place[]): Promise<void> {
    const channels = await Promise.all(places.map((place) => place.open()));
    if (this.isEnding) {
      for (const channel of channels) channel.kill();
      return;
    }
    for (const [i, place] of places.entries()) {
      const agent: AgentLink = new AgentLink(place.host, channels[i]!, {
        onMessage: (message) => this.hear(agent, message),
        onGone: (how) => void this.onAgentGone(agent, how),
      });
      this.agents.set(agent, place);
    }
    this.startTimer = this.after(this.request.startTimeoutSeconds * 1000, () => {
      const late = [...this.agents.keys()].filter((agent) => !this.readies.has(agent));
      const text = `the agent on host ${late.map(({ host }) => host).join(', ')} did not answer within ${this.request.startTimeoutSeconds} s`;
      this.endBy({ kind: 'cannot-start', text }, 0);
      for (const agent of late) agent.kill();
    });
  }

  private hear(agent: AgentLink, message: khorovod.FromAgent): void {
    const { ready, started, output, ended, cannotStart, credit, done } = message;
    if (output) {
      const data = Buffer.from(output.data ?? []);
      this.display.write(output.label ?? '', output.stderr ?? false, data, () => agent.send({ credit: { bytes: data.length } }));
    } else if (ended) this.onRankEnded(ended);
    else if (credit) this.stdin?.addCredit(credit.bytes ?? 0);
    else if (started) {
      const cpus = this.cpusOf.get(started.label ?? '') ?? [];
      const where = cpus.length > 0 ? ` on processors ${cpus.join(',')}` : '';
      this.explain(`${nameOf(started.label ?? '')} runs as process ${started.pid}${where}: ${this.argv.join(' ')}`);
    } else if (cannotStart) {
      const who = cannotStart.label ? `${nameOf(cannotStart.label)} on host ${agent.host}` : `host ${agent.host}`;
      this.endBy({ kind: 'cannot-start', text: `${who}: ${cannotStart.reason}` }, 0);
    } else if (ready) this.onReady(agent, ready);
    else if (done?.trouble) this.endBy({ kind: 'agent', text: `the agent on host ${agent.host} ended the job: ${done.trouble}` }, 0);
    if (done) this.agents.delete(agent);
    this.finishWhenOver();
  }

  private onReady(agent: AgentLink, ready: khorovod.AgentReady.$Properties): void {
    this.explain(
      `agent on host ${agent.host} (${ready.host}): process ${ready.pid}, reaper ${ready.reaperPid}, Node ${ready.node}, khorovod ${ready.version}`,
    );
    if (ready.version !== version) {
      this.endBy(
        { kind: 'cannot-start', text: `host ${agent.host} has khorovod ${ready.version}, here is ${version}: install the same version` },
        0,
      );
      return;
    }
    this.readies.set(agent, ready);
    agent.send({ credit: { bytes: OUTPUT_CREDIT_BYTES } });
    // No rank starts before every host is known to be able to.
    if (this.readies.size === this.agents.size) this.startRanks();
  }

  private startRanks(): void {
    clearTimeout(this.startTimer);
    try {
      const jobs = [...this.agents].map(([agent, place]) => {
        const { gpus, cpus, numaNodes } = this.readies.get(agent)!;
        const devices = { gpus: gpus ?? [], cpus: cpus ?? [], numaNodes: (numaNodes ?? []).map((node) => node.cpus ?? []) };
        const ranks = this.assignments
          .filter(({ host }) => host === place.host)
          .map((assignment) => this.rankSpec(assignment, devices, place.address));
        const env = place.isHere ? this.request.env : this.request.addedEnv;
        return { agent, start: { jobId: this.jobId, key: this.key, wdir: this.request.wdir, env: pairs(env), ranks, adds: !place.isHere } };
      });
      for (const { agent, start } of jobs) agent.send({ start });
    } catch (error) {
      this.endBy({ kind: 'cannot-start', text: (error as Error).message, exitCode: 4 }, 0);
    }
  }

  /** @throws LaunchError (exit 4) the host has too few GPUs, or cannot bind */
  private rankSpec(assignment: Assignment, devices: Devices, address: string): khorovod.RankSpec.$Properties {
    const { env, cpus } = pinningOf(assignment, devices, this.request.pinning);
    this.cpusOf.set(String(assignment.rank), cpus);
    return {
      label: String(assignment.rank),
      argv: [...this.argv],
      cpus: [...cpus],
      env: pairs({
        ...env,
        ...this.identityOf(assignment),
        [knobs.bindAddress.env]: address,
        [knobs.localCpus.env]: String(devices.cpus.length),
      }),
      stdin: assignment.rank === 0 && this.stdin !== undefined,
    };
  }

  /** What a rank learns of itself. */
  private identityOf({ rank, host, localRank, localSize, crossRank, crossSize }: Assignment): Record<string, string> {
    const columns = process.stdout.isTTY ? process.stdout.columns : 0;
    return {
      [knobs.rank.env]: String(rank),
      [knobs.size.env]: String(this.assignments.length),
      [knobs.localRank.env]: String(localRank),
      [knobs.localSize.env]: String(localSize),
      [knobs.crossRank.env]: String(crossRank),
      [knobs.crossSize.env]: String(crossSize),
      [knobs.hostname.env]: host,
      [knobs.rendezvous.env]: `${this.store!.host}:${this.store!.port}`,
      [knobs.terminalColumns.env]: String(columns),
    };
  }

  private async onAgentGone(agent: AgentLink, how: string): Promise<void> {
    if (!this.agents.has(agent)) return; // it had said that it is done
    const text = `the agent on host ${agent.host} (${agent.where}) ${how}`;
    this.endBy({ kind: this.readies.has(agent) ? 'agent' : 'cannot-start', text }, 0);
    // Its reaper ends the ranks; where both were killed, this does.
    const left = await endCarriers(jobMark(this.jobId).entry);
    if (left.length > 0) this.display.say(`tsrun: processes ${left.join(', ')} do not end`);
    removeJobFolder(this.jobId);
    this.agents.delete(agent);
    this.finishWhenOver();
  }

  private sendAll(message: khorovod.ToAgent.$Properties): void {
    for (const agent of this.agents.keys()) agent.send(message);
  }

  // ───── ends ─────

  private onRankEnded({ label, code, signal, error, endedByUs }: khorovod.RankEnded.$Properties): void {
    const host = this.assignments.find(({ rank }) => String(rank) === label)?.host ?? '';
    const end: RankEnd = {
      label: label ?? '',
      host,
      code: code ?? undefined,
      signal: signal ?? undefined,
      record: error ? ({ ...error, code: error.code ?? '', message: error.message ?? '' } as RankEnd['record']) : undefined,
      isEndedByUs: endedByUs ?? false,
      atMs: performance.now(),
    };
    this.display.close(end.label);
    this.explain(describeEnd(end));
    this.ends.push(end);
    if (this.request.keepsGoing || this.isEnding) return;
    const waitMs = waitBeforeEndingMs(this.ends, end.atMs);
    if (waitMs === undefined) return;
    clearTimeout(this.endingTimer);
    this.endingTimer = this.after(waitMs, () => this.endRanks(GRACE_MS));
  }

  /** The first reason is kept. */
  private endBy(ending: Ending, graceMs: number): void {
    if (ending.kind !== 'agent' || !this.isEnding) this.ending ??= ending;
    this.endRanks(graceMs);
  }

  private endRanks(graceMs: number): void {
    this.isEnding = true;
    this.sendAll({ end: { graceMs } });
    this.finishWhenOver();
    this.after(graceMs + AGENT_END_MS, () => {
      for (const agent of this.agents.keys()) agent.kill();
    });
  }

  private finishWhenOver(): void {
    if (this.agents.size === 0) this.resolve();
  }

  private async conclude(): Promise<number> {
    await this.store?.close();
    this.isOver = true;
    // A pager holds the output for as long as its user reads; a signal ends that wait.
    if (this.ending?.kind === 'signal') this.after(GRACE_MS, () => this.display.abandon());
    await this.display.flushed();
    const first = firstFailure(this.ends);
    for (const line of reportLines(this.ending, first, this.ends, first ? this.display.stderrTail(first.label) : []))
      this.display.say(line);
    await this.display.flushed();
    return jobExitCode(this.ending, first, this.display.hasLostOutput);
  }

  private explain(text: string): void {
    if (this.request.isVerbose) this.display.say(`tsrun: ${text}`);
  }

  private after(ms: number, act: () => void): NodeJS.Timeout {
    const timer = setTimeout(act, ms);
    this.timers.add(timer);
    return timer;
  }
}

const pairs = (env: Record<string, string>): khorovod.EnvVar.$Properties[] => Object.entries(env).map(([name, value]) => ({ name, value }));
