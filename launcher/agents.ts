/**
 * All agents of a job: opens them, beats to them, notices which of them are gone, and has ended what those have left. tsrun's process.
 *
 * Invariants: every agent that was opened either says that it is done (`forget`) or is gone; of one that is gone `onGone` is told at once, and it counts among them until what it
 * left on its host has been ended, or cannot be reached. What opening one costs is not waited for without end: whoever starts the job keeps that deadline (`late`).
 */
import type { khorovod } from '../src/wire/generated/messages';
import { AgentLink } from './agent_link';
import { LaunchError } from './errors';
import { removeJobFolder } from './key_file';
import { endCarriers, jobMark } from './process';
import type { Place } from './reach';
import { BEAT_MS } from './silence';

/** Another host has so long to end what its agent has left; one that has lost its power does not answer at all. */
const SWEEP_MS = 3000;

export interface AgentsOwner {
  /** Names the job's part on the host of that place. */
  partOf(place: Place): string;
  onMessage(agent: AgentLink, message: khorovod.FromAgent): void;
  /** Without having said that it is done. `how`: for a sentence that begins with the agent's name. */
  onGone(agent: AgentLink, how: string): void;
  /** It is no longer waited for. */
  onForgotten(agent: AgentLink): void;
  /** Processes of this machine withstand SIGKILL. */
  onLeft(pids: readonly number[]): void;
}

export class Agents {
  private readonly placeOf = new Map<AgentLink, Place>();
  /** Being cleaned up after. */
  private readonly lost = new Set<AgentLink>();
  /** Whose answer the start waits for: host names. */
  private readonly awaited = new Set<string>();
  private isClosed = false;

  constructor(
    private readonly owner: AgentsOwner,
    /** An agent of another host that says nothing for so long is gone. */
    private readonly silenceMs: number,
  ) {}

  get isEmpty(): boolean {
    return this.placeOf.size === 0;
  }

  /** Hosts whose agents have not answered. */
  get late(): string[] {
    return [...this.awaited];
  }

  /** In the order of the places. @throws LaunchError one cannot be opened, or nothing is opened any more */
  async open(places: readonly Place[]): Promise<AgentLink[]> {
    setInterval(() => this.beat(), BEAT_MS).unref();
    return Promise.all(places.map((place) => this.awaiting(place.host, () => this.openOne(place))));
  }

  /** What each of them says next. */
  answers<K extends 'ready' | 'prepared' | 'probed'>(agents: readonly AgentLink[], kind: K) {
    return Promise.all(agents.map((agent) => this.awaiting(agent.host, () => agent.answer(kind))));
  }

  sendAll(message: khorovod.ToAgent.$Properties): void {
    for (const agent of this.placeOf.keys()) agent.send(message);
  }

  /** Those that have not answered will not hear either. */
  killLate(): void {
    for (const agent of this.placeOf.keys()) if (this.awaited.has(agent.host)) agent.kill();
  }

  killAll(): void {
    for (const agent of this.placeOf.keys()) agent.kill();
  }

  forget(agent: AgentLink): void {
    if (this.placeOf.delete(agent)) this.owner.onForgotten(agent);
  }

  /** No agent is opened any more. */
  close(): void {
    this.isClosed = true;
  }

  private async openOne(place: Place): Promise<AgentLink> {
    const channel = await place.open('agent.js');
    if (this.isClosed) {
      channel.kill();
      throw new LaunchError('the job was ended while it started', 3);
    }
    const agent: AgentLink = new AgentLink(place.host, channel, {
      onMessage: (message) => this.owner.onMessage(agent, message),
      onGone: (how) => void this.onGone(agent, how),
    });
    this.placeOf.set(agent, place);
    return agent;
  }

  private async awaiting<T>(host: string, act: () => Promise<T>): Promise<T> {
    this.awaited.add(host);
    const answer = await act();
    this.awaited.delete(host);
    return answer;
  }

  /** An agent of this machine closes its pipe whatever ends it; one on another host may be cut off. */
  private beat(): void {
    for (const [agent, { isHere }] of this.placeOf) {
      const silentMs = agent.beat();
      if (isHere || silentMs <= this.silenceMs) continue;
      void this.onGone(agent, `said nothing for ${(silentMs / 1000).toFixed(1)} s: the host has lost its power or its network`);
    }
  }

  private async onGone(agent: AgentLink, how: string): Promise<void> {
    const place = this.placeOf.get(agent);
    if (!place || this.lost.has(agent)) return; // it had said that it is done
    this.lost.add(agent);
    this.owner.onGone(agent, how);
    await (place.isHere ? this.sweepHere(place) : this.sweep(place, agent.pid));
    agent.kill();
    this.forget(agent);
  }

  /** Its reaper ends the ranks; where both were killed, this does. */
  private async sweepHere(place: Place): Promise<void> {
    const part = this.owner.partOf(place);
    const left = await endCarriers(jobMark(part).entry);
    if (left.length > 0) this.owner.onLeft(left);
    removeJobFolder(part);
  }

  /** The same on another host, by a reaper that finds nobody to watch. The agent itself may only have been stopped. */
  private async sweep(place: Place, agentPid: number | undefined): Promise<void> {
    const deadline = new Promise<void>((resolve) => setTimeout(resolve, SWEEP_MS).unref());
    const swept = async (): Promise<void> => {
      const reaper = await place.open('reaper.js');
      reaper.stdout.resume();
      reaper.stderr.resume();
      reaper.stdin.on('error', () => {});
      reaper.stdin.end(`job ${this.owner.partOf(place)}\n${agentPid === undefined ? '' : `+${agentPid}\n`}`);
      await reaper.ended;
    };
    await Promise.race([swept().catch(() => {}), deadline]);
  }
}
