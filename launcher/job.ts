/**
 * One job from start to end: serves the rendezvous, has the agents start the ranks, shows what they say, ends them when something ends the job. tsrun's process.
 *
 * What ends a job, and with which code, is decided in report.ts; this file carries it out. Invariants: the exit code is known only when every agent has said that nothing of the
 * job is left on its host, or is gone itself and its processes have been ended here; every wait has a deadline.
 */
import { randomBytes } from 'node:crypto';
import { HOSTS_KEY } from '../src/rendezvous/join';
import { StoreServer } from '../src/rendezvous/server';
import { version } from '../src/version';
import type { khorovod } from '../src/wire/generated/messages';
import type { AgentLink } from './agent_link';
import { Agents } from './agents';
import { Console } from './console';
import { courseOf, isSurvived, type Running, SERVER_GRACE_MS } from './course';
import { LaunchError } from './errors';
import type { Assignment } from './hosts';
import { partOf } from './key_file';
import { candidatesOf, chooseAddresses, type HostNetworks, targetsOf } from './networks';
import { Nodes } from './nodes';
import type { Place, Reached } from './reach';
import {
  blamed,
  describeEnd,
  type Ending,
  firstFailure,
  isConsequence,
  jobExitCode,
  nameOf,
  type RankEnd,
  reportLine,
  reportLines,
} from './report';
import type { RunRequest } from './request';
import { type ServerPlace, serverLabel } from './servers';
import { silenceLimitMs } from './silence';
import { startJobOf } from './start_job';
import { StdinFeed } from './stdin_feed';
import { StoreLinks } from './store_links';

const GRACE_MS = 5000;
/** After the grace and SIGKILL: an agent that does not come to its end is ended itself, and its reaper does the rest. */
const AGENT_END_MS = 8000;
/** Output that agents may send ahead of what has left tsrun. */
const OUTPUT_CREDIT_BYTES = 1 << 20;
/** Npm passes a Ctrl-C on that the terminal has delivered already. */
const SAME_SIGNAL_MS = 150;
/** So long what the other hosts are told last may take to leave. */
const TELL_MS = 500;
/** Ranks of one host meet there. */
const LOOPBACK = '127.0.0.1';

/** Who started this tsrun, where that one wants to know. */
export interface JobObserver {
  onReport(rank: number, json: string): void;
  /** @param lines what is said of the end, none where all went well */
  onEnd(exitCode: number, lines: readonly string[]): Promise<void>;
}

export type EndSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

export class Job {
  private readonly name = randomBytes(16).toString('hex');
  private secret: { jobId: string; key: Uint8Array } = { jobId: this.name, key: randomBytes(32) };
  private readonly display: Console;
  /** By label, of all processes of the job. */
  private readonly hostOf = new Map<string, string>();
  /** By label: the processors it was bound to. */
  private readonly cpusOf = new Map<string, readonly number[]>();
  private readonly agents: Agents;
  private readonly stdin?: StdinFeed;
  private readonly ends: RankEnd[] = [];
  private reached?: Reached;
  private nodes?: Nodes;
  private readonly store = new StoreServer((rank, json) => {
    this.display.say(reportLine(rank, json));
    this.observer?.onReport(rank, json);
  });
  private readonly storeLinks = new Map<AgentLink, StoreLinks>();
  private hasStarted = false;
  private isEnding = false;
  private isOver = false;
  private ending?: Ending;
  private endingTimer?: NodeJS.Timeout;
  /** As in Running. */
  private othersThroughMs: number | undefined;
  private lastSignalMs = Number.NEGATIVE_INFINITY;
  private readonly timers = new Set<NodeJS.Timeout>();
  private resolve!: () => void;

  /** @throws LaunchError (exit 2) the folder for the output cannot be made */
  constructor(
    private readonly request: RunRequest,
    private readonly assignments: readonly Assignment[],
    private readonly servers: readonly ServerPlace[],
    /** Reaches the hosts. */
    private readonly reach: () => Promise<Reached>,
    private readonly observer?: JobObserver,
  ) {
    for (const { rank, host } of assignments) this.hostOf.set(String(rank), host);
    for (const { server, host } of servers) this.hostOf.set(serverLabel(server), host);
    const labels = [...this.hostOf.keys()];
    this.display = new Console({ labels, prefix: request.hasPrefix, timestamp: request.hasTimestamp, outputFolder: request.outputFolder });
    this.agents = new Agents(
      {
        partOf: ({ index }) => partOf(this.name, index),
        onMessage: (agent, message) => this.hear(agent, message),
        onGone: (agent, how) => {
          const kind = this.hasStarted ? 'agent' : 'cannot-start';
          this.endBy({ kind, text: `the agent on host ${agent.host} (${agent.where}) ${how}` }, 0);
        },
        onForgotten: (agent) => {
          this.storeLinks.get(agent)?.close();
          this.finishWhenOver();
        },
        onLeft: (pids) => this.display.say(`tsrun: processes ${pids.join(', ')} do not end`),
      },
      silenceLimitMs(request.peerTimeoutSeconds),
    );
    this.othersThroughMs = request.nodes ? undefined : Number.NEGATIVE_INFINITY;
    if (request.forwardsStdin) this.stdin = new StdinFeed((data, end) => this.agents.sendAll({ stdin: { data, end } }));
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
    this.start().catch((error: Error) => {
      this.endBy({ kind: 'cannot-start', text: error.message, exitCode: error instanceof LaunchError ? error.exitCode : 3 }, 0);
    });
    await over;
    for (const timer of this.timers) clearTimeout(timer);
    this.reached?.close();
    return this.conclude();
  }

  /** Meanwhile something may end the job: nothing is waited for then. No rank starts before every host has said that its ranks can. */
  private async start(): Promise<void> {
    const { np, ps, nodes, tls, startTimeoutSeconds, networkInterface } = this.request;
    if (nodes) {
      this.nodes = await Nodes.meet(nodes, { np, ps, tls, store: this.store, timeoutMs: startTimeoutSeconds * 1000, networkInterface });
      this.secret = this.nodes;
      this.nodes.onFailed((text, exitCode) => this.endBy({ kind: 'node', text, exitCode }, GRACE_MS));
      this.nodes.onOthersThrough(() => {
        this.othersThroughMs = performance.now();
        this.steer();
      });
    }
    this.store.put(HOSTS_KEY, Buffer.from(JSON.stringify(this.assignments.map(({ host }) => this.hostName(host)))));
    this.reached = await this.reach();
    const { places } = this.reached;
    const timer = this.after(startTimeoutSeconds * 1000, () => this.endByLateAgents());
    const agents = await this.agents.open(places);
    const readies = await this.agents.answers(agents, 'ready');
    this.compareVersions(agents, readies);
    const networks = places.map(({ host, address }, i) => ({ host, interfaces: interfacesOf(readies[i]!), reachedBy: address }));
    const candidates = places.length === 1 ? [[]] : networks.map((host) => candidatesOf(host, this.request.networkInterface));
    for (const [i, agent] of agents.entries()) this.prepare(agent, places[i]!, readies[i]!, candidates[i]!);
    const prepared = await this.agents.answers(agents, 'prepared');
    const addresses = places.length === 1 ? [this.nodes?.address ?? LOOPBACK] : await this.meet(agents, networks, candidates, prepared);
    clearTimeout(timer);
    this.hasStarted = true;
    for (const [i, agent] of agents.entries()) {
      if (places.length > 1) this.explain(`ranks on host ${agent.host} listen on ${addresses[i]}`);
      agent.send({ credit: { bytes: OUTPUT_CREDIT_BYTES } });
      agent.send({ go: { address: addresses[i] } });
    }
  }

  /** @throws LaunchError (exit 4) the host has too few GPUs, or cannot bind */
  private prepare(agent: AgentLink, place: Place, ready: khorovod.AgentReady.$Properties, addresses: readonly string[]): void {
    const { request, assignments, servers, secret } = this;
    const rendezvous = this.nodes?.rendezvous;
    const terminalColumns = process.stdout.isTTY ? process.stdout.columns : 0;
    const job = { request, assignments, servers, secret, rendezvous, terminalColumns, hostName: (host: string) => this.hostName(host) };
    const start = startJobOf(job, { place, part: partOf(this.name, place.index), ready, addresses });
    for (const { label, cpus } of start.ranks ?? []) this.cpusOf.set(label ?? '', cpus ?? []);
    agent.send({ start });
  }

  /** Every agent tries the addresses of other hosts; for each host one that leads there from all who tried. */
  private async meet(
    agents: readonly AgentLink[],
    networks: readonly HostNetworks[],
    candidates: ReadonlyArray<readonly string[]>,
    prepared: ReadonlyArray<khorovod.AgentPrepared.$Properties>,
  ): Promise<string[]> {
    const ports = prepared.map((one) => one.ports ?? []);
    const targets = agents.map((_, from) => targetsOf(from, candidates, ports));
    for (const [from, agent] of agents.entries()) agent.send({ probe: { targets: targets[from] } });
    const probed = await this.agents.answers(agents, 'probed');
    const trials = agents.flatMap((_, from) =>
      targets[from]!.map(({ place, address }, i) => ({ from, to: place, address, isReached: probed[from]!.reached?.[i] ?? false })),
    );
    return chooseAddresses(networks, candidates, trials);
  }

  /** The first ends the job with grace, a second one at once. */
  signal(name: EndSignal): void {
    const nowMs = performance.now();
    if (nowMs - this.lastSignalMs < SAME_SIGNAL_MS) return;
    this.lastSignalMs = nowMs;
    if (this.isOver) this.display.abandon();
    this.endBy({ kind: 'signal', signal: name }, this.ending?.kind === 'signal' ? 0 : GRACE_MS);
  }

  /** Who started it is gone: nobody waits for a grace any more. */
  abandon(): void {
    this.display.abandon();
    this.endBy({ kind: 'signal', signal: 'SIGHUP' }, 0);
  }

  forward(signal: 'SIGUSR1' | 'SIGUSR2' | 'SIGTSTP' | 'SIGCONT'): void {
    this.agents.sendAll({ signal: { signal } });
  }

  // ───── agents ─────

  private endByLateAgents(): void {
    const text = `the agent on host ${this.agents.late.join(', ')} did not answer within ${this.request.startTimeoutSeconds} s`;
    this.endBy({ kind: 'cannot-start', text }, 0);
    this.agents.killLate();
  }

  private hear(agent: AgentLink, message: khorovod.FromAgent): void {
    const { started, output, ended, cannotStart, credit, done, store } = message;
    if (output) {
      const data = Buffer.from(output.data ?? []);
      this.display.write(output.label ?? '', output.stderr ?? false, data, () => agent.send({ credit: { bytes: data.length } }));
    } else if (ended) this.onRankEnded(ended);
    else if (credit) this.stdin?.addCredit(credit.bytes ?? 0);
    else if (started) {
      const cpus = this.cpusOf.get(started.label ?? '') ?? [];
      const where = cpus.length > 0 ? ` on processors ${cpus.join(',')}` : '';
      this.explain(`${nameOf(started.label ?? '')} runs as process ${started.pid}${where}: ${started.argv?.join(' ')}`);
    } else if (cannotStart) {
      const who = cannotStart.label ? `${nameOf(cannotStart.label)} on host ${agent.host}` : `host ${agent.host}`;
      this.endBy({ kind: 'cannot-start', text: `${who}: ${cannotStart.reason}` }, 0);
    } else if (store) this.storeLinksOf(agent).take(store);
    else if (done?.trouble) this.endBy({ kind: 'agent', text: `the agent on host ${agent.host} ended the job: ${done.trouble}` }, 0);
    if (done) this.agents.forget(agent);
    this.finishWhenOver();
  }

  private storeLinksOf(agent: AgentLink): StoreLinks {
    let links = this.storeLinks.get(agent);
    if (!links) {
      links = new StoreLinks(this.store, (store) => agent.send({ store }));
      this.storeLinks.set(agent, links);
    }
    return links;
  }

  /** @throws LaunchError (exit 3) names all hosts that have another one */
  private compareVersions(agents: readonly AgentLink[], readies: ReadonlyArray<khorovod.AgentReady.$Properties>): void {
    for (const [i, { host, node, version: theirs, pid, reaperPid }] of readies.entries()) {
      const where = `agent on host ${agents[i]!.host} (${host})`;
      this.explain(`${where}: process ${pid}, reaper ${reaperPid}, Node ${node}, khorovod ${theirs}`);
    }
    const others = agents.flatMap(({ host }, i) =>
      readies[i]!.version === version ? [] : [`host ${host} has khorovod ${readies[i]!.version}`],
    );
    if (others.length > 0)
      throw new LaunchError(`${others.join(', ')}, here is ${version}: npm install khorovod@${version} in the working folder there`, 3);
  }

  /** With one tsrun a host, hosts tell their names when they meet. */
  private hostName(host: string): string {
    return this.nodes?.hostnames[Number(host.replace('node', ''))] ?? host;
  }

  // ───── ends ─────

  private onRankEnded({ label, code, signal, error, endedByUs }: khorovod.RankEnded.$Properties): void {
    const end: RankEnd = {
      label: label ?? '',
      host: this.hostName(this.hostOf.get(label ?? '') ?? ''),
      code: code ?? undefined,
      signal: signal ?? undefined,
      record: error ? ({ ...error, code: error.code ?? '', message: error.message ?? '' } as RankEnd['record']) : undefined,
      isEndedByUs: endedByUs ?? false,
      atMs: performance.now(),
    };
    this.display.close(end.label);
    this.explain(describeEnd(end));
    this.ends.push(end);
    if (!this.isEnding && isSurvived(end, this.ends, this.running))
      this.display.say(`tsrun: ${describeEnd(end)}; the job goes on (--keep-going)`);
    this.steer();
  }

  /** Something has ended. */
  private steer(): void {
    if (this.isEnding) return;
    const course = courseOf(this.ends, this.running, performance.now());
    if (!course) return;
    clearTimeout(this.endingTimer);
    this.endingTimer = this.after(course.afterMs, () => {
      if (course.kind === 'no rank is left' && course.afterMs > 0) this.sayWhoIsLeft();
      this.endRanks(GRACE_MS);
    });
  }

  private get running(): Running {
    const { nodes, keepsGoing } = this.request;
    const isHere = ({ host }: { host: string }): boolean => nodes === undefined || host === `node${nodes.nodeRank}`;
    const [ranks, servers] = [this.assignments.filter(isHere).length, this.servers.filter(isHere).length];
    return { ranks, servers, keepsGoing, othersThroughMs: this.othersThroughMs };
  }

  private sayWhoIsLeft(): void {
    const left = this.servers.map(({ server }) => serverLabel(server)).filter((label) => !this.ends.some((end) => end.label === label));
    const names = left.map((label) => `${label} on host ${this.hostName(this.hostOf.get(label)!)}`).join(', ');
    this.display.say(`tsrun: warning: ${SERVER_GRACE_MS / 1000} s after the last rank had ended there was still ${names}: ended now`);
  }

  /** The first reason is kept. */
  private endBy(ending: Ending, graceMs: number): void {
    // What ended the ranks of a host explains those that have only noticed it.
    const explains = ending.kind === 'agent' || ending.kind === 'node';
    if (!explains || !this.isEnding || isConsequence(firstFailure(this.ends))) this.ending ??= ending;
    this.endRanks(graceMs);
  }

  private endRanks(graceMs: number): void {
    this.isEnding = true;
    this.agents.close();
    this.agents.sendAll({ end: { graceMs } });
    this.finishWhenOver();
    this.after(graceMs + AGENT_END_MS, () => this.agents.killAll());
  }

  private finishWhenOver(): void {
    if (this.agents.isEmpty) this.resolve();
  }

  private async conclude(): Promise<number> {
    this.isOver = true;
    // A pager holds the output for as long as its user reads; a signal ends that wait.
    if (this.ending?.kind === 'signal') this.after(GRACE_MS, () => this.display.abandon());
    await this.display.flushed();
    const first = blamed(this.ending, firstFailure(this.ends));
    const lines = reportLines(this.ending, first, this.ends, first ? this.display.stderrTail(first.label) : []);
    for (const line of lines) this.display.say(line);
    await this.display.flushed();
    const code = jobExitCode(this.ending, first, this.display.hasLostOutput);
    const text = first ? describeEnd(first) : `it ended with exit code ${code}`;
    const isWhole = this.ending === undefined && courseOf(this.ends, this.running, performance.now())?.kind !== 'failure';
    await this.nodes?.leave({ code, text, keepsGoing: this.request.keepsGoing && isWhole });
    await this.store.close(TELL_MS);
    await this.observer?.onEnd(code, lines);
    return code;
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

const interfacesOf = ({ interfaces }: khorovod.AgentReady.$Properties) =>
  (interfaces ?? []).map(({ name, address }) => ({ name: name ?? '', address: address ?? '' }));
