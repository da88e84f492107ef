/**
 * The control links of one generation: a star round the coordinator (rank 0), over which ranks negotiate, beat, part and fail.
 *
 * Communication thread. Who notices what: a closed control link without a goodbye is a dead peer (at once); a silent one is a frozen or cut-off peer (after
 * `peerTimeoutMs`); a goodbye is a rank that left in order, or failed. The coordinator tells every rank; when the coordinator itself is lost, every rank notices by
 * its own link. The first failure wins.
 */
import { PeerError, RendezvousError, recordOf, reviveError } from '../errors';
import { ControlLink, type Lane } from '../transport/control';
import type { Listener } from '../transport/listener';
import type { Peer } from '../transport/peer';
import type { khorovod } from '../wire/generated/messages';

export interface ControlEvents {
  onMessage(from: number, message: khorovod.IControl): void;
  onFailure(error: Error): void;
  onDeparted(rank: number, reason: string): void;
}

/** Beats per `peerTimeoutMs`: some may be late without a false alarm. */
const BEATS_PER_TIMEOUT = 5;
const SLOWEST_BEAT_MS = 500;
/** To tell a peer that it is given up, or all why the job does not form. */
const TELL_MS = 500;

export class ControlPlane {
  readonly departed = new Set<number>();
  readonly beatMs: number;
  private readonly links = new Map<number, ControlLink>();
  private lastTickMs = performance.now();
  private isClosing = false;

  constructor(
    private readonly rank: number,
    private readonly hostOf: (rank: number) => string,
    private readonly peerTimeoutMs: number,
    private readonly events: ControlEvents,
    private readonly nameOf: (peer: number) => string = (peer) => `Rank ${peer} on host ${hostOf(peer)}`,
  ) {
    this.beatMs = Math.max(20, Math.min(SLOWEST_BEAT_MS, peerTimeoutMs / BEATS_PER_TIMEOUT));
  }

  get isCoordinator(): boolean {
    return this.rank === 0;
  }
  get linkedRanks(): number[] {
    return [...this.links.keys()];
  }

  add(link: ControlLink): void {
    this.links.set(link.peer, link);
    link.onMessage = (message) => this.take(link, message);
    link.onClose = (error) => this.lose(link.peer, error);
  }

  /**
   * Resolves when all these have dialled. The late ones are named, to those who are there too.
   * @param own how this process is called
   * @throws RendezvousError some have not come in time
   */
  awaitLinks(listener: Listener, expected: ReadonlyArray<Pick<Peer, 'rank' | 'host'>>, own: string, timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        if (this.links.size < expected.length) return;
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        const missing = expected.filter(({ rank }) => !this.links.has(rank));
        const error = new RendezvousError(
          `After ${(timeoutMs / 1000).toFixed(0)} s rank ${missing.map(({ rank, host }) => `${rank} on host ${host}`).join(', rank ')} had met at the rendezvous, but not connected to ${own} at ${listener.host}:${listener.port}. ` +
            'Look for a firewall between the hosts (--port-range names the ports), or raise --start-timeout.',
        );
        this.announce(error);
        void this.close(TELL_MS).then(() => reject(error));
      }, timeoutMs);
      listener.onLink('control', (from, socket) => {
        this.add(new ControlLink(from, socket));
        finish();
      });
      finish();
    });
  }

  send(to: number, message: khorovod.IControl): void {
    this.links.get(to)?.send(message);
  }
  sendAll(message: khorovod.IControl): void {
    for (const link of this.links.values()) link.send(message);
  }

  /** To every peer that there is a lane to. */
  useLanes(open: (peer: number, hear: (bytes: Uint8Array) => void) => Lane | undefined): void {
    for (const link of this.links.values()) link.useLane((hear) => open(link.peer, hear));
  }

  /** One beat: tells the peers that this rank lives, and looks for silent ones. */
  tick(): void {
    const nowMs = performance.now();
    // This thread itself was stopped (SIGSTOP, a suspended machine): what the peers said meanwhile still waits in the sockets, so nobody is judged now.
    const wasStopped = nowMs - this.lastTickMs > 3 * this.beatMs + 200;
    this.lastTickMs = nowMs;
    for (const [peer, link] of this.links) {
      link.send({ heartbeat: {} });
      if (wasStopped) {
        link.lastHeardMs = Math.max(link.lastHeardMs, nowMs - this.peerTimeoutMs / 2);
        continue;
      }
      const silentMs = nowMs - link.lastHeardMs;
      if (silentMs > this.peerTimeoutMs && !this.departed.has(peer)) {
        this.fail(
          new PeerError(
            `${this.nameOf(peer)} said nothing for ${(silentMs / 1000).toFixed(1)} s: it is frozen, stopped or cut off. ` +
              `Look at that process and its network; --peer-timeout (now ${this.peerTimeoutMs / 1000} s) sets how long silence is borne.`,
            { peer, host: this.hostOf(peer) },
          ),
        );
        return;
      }
    }
  }

  /** Tells everyone: the coordinator all ranks, the others the coordinator. */
  announce(error: Error): void {
    this.sendAll({ failure: { error: recordOf(error) } });
  }

  /** That peer is given up, and told why; the others are not concerned. */
  dismiss(peer: number, error: Error): void {
    const link = this.links.get(peer);
    this.links.delete(peer);
    this.departed.add(peer);
    if (!link) return;
    link.send({ failure: { error: recordOf(error) } });
    void link.flush(TELL_MS).then(() => link.destroy());
  }

  async close(timeoutMs: number): Promise<void> {
    this.isClosing = true;
    await Promise.all([...this.links.values()].map((link) => link.flush(timeoutMs)));
    for (const link of this.links.values()) link.destroy();
  }

  private take(link: ControlLink, message: khorovod.IControl): void {
    const { peer } = link;
    if (message.heartbeat) return;
    if (message.goodbye) {
      const { failed, reason } = message.goodbye;
      if (failed) {
        this.fail(
          new PeerError(`${this.nameOf(peer)} failed: ${reason}. See its own output.`, {
            peer,
            host: this.hostOf(peer),
          }),
        );
        return;
      }
      this.departed.add(peer);
      this.events.onDeparted(peer, reason ?? '');
    } else if (message.departed) {
      this.departed.add(message.departed.rank ?? 0);
      this.events.onDeparted(message.departed.rank ?? 0, message.departed.reason ?? '');
    } else if (message.failure?.error) {
      this.fail(reviveError({ code: 'ERR_HVD_PEER', message: '', ...plain(message.failure.error) }));
    } else {
      this.events.onMessage(peer, message);
    }
  }

  private lose(peer: number, error: Error | undefined): void {
    this.links.delete(peer);
    if (this.isClosing || this.departed.has(peer)) return;
    const how = error ? ` (${error.message})` : '';
    this.fail(
      new PeerError(
        `${this.nameOf(peer)} is gone: its connection closed without a goodbye${how}. It was killed or it crashed; see its own output.`,
        {
          peer,
          host: this.hostOf(peer),
        },
      ),
    );
  }

  private fail(error: Error): void {
    this.events.onFailure(error);
  }
}

/** Without the absent fields that protobuf spells as null. */
function plain(record: khorovod.IErrorRecord): Record<string, never> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== null && value !== undefined)) as Record<string, never>;
}
