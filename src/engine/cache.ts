/**
 * The response cache: a call that has been negotiated once is from then on one number on the wire instead of a whole request.
 *
 * Pure; communication thread. Two sides. The coordinator's `ResponseCache` gives the ids and decides what is forgotten; each rank's `RequestCache` follows what the
 * coordinator announces, in its order. Invariants:
 *   - an id stands for one call for ever: it is never used twice, so a number that is late on the wire cannot mean another call;
 *   - the ranks' caches are copies of the coordinator's, delayed. A rank can thus name an id that is gone; the coordinator asks for that call in full (resend; negotiate.ts), and the
 *     rank keeps what it has named until it hears of it, even when the news of the eviction comes first;
 *   - an entry that some ranks have named for a call not yet decided is not evicted for room.
 * Horovod's bit positions are renumbered after evictions, which needs all ranks in step; numbers that are never used twice do not.
 */
import { type Call, callKey, isSameCall } from './call';

const mostIds = 0xffffffff;

interface Entry {
  readonly key: string;
  /** One that is everybody's, or one for each member (ragged gathers). */
  readonly calls: readonly Call[];
  /** Members that have named this entry for a call that is not decided yet. */
  hits: number;
}

/** The coordinator's side. */
export class ResponseCache {
  /** The least recently used first. */
  private readonly entries = new Map<number, Entry>();
  private readonly ids = new Map<string, number>();
  private lastId = 0;
  private evicted: number[] = [];

  /** @param capacity entries; 0: off */
  constructor(private readonly capacity: number) {}

  /** What the member means by `id`, with its key (made once: a new text is hashed anew for every table), and marks it as meant; undefined: forgotten since. @param positionIn where the member stands among those of that call */
  hit(id: number, positionIn: (call: Call) => number): { key: string; call: Call } | undefined {
    const entry = this.entries.get(id);
    if (!entry) return undefined;
    entry.hits += 1;
    const { key, calls } = entry;
    return { key, call: calls[calls.length === 1 ? 0 : positionIn(calls[0]!)]! };
  }

  /** All members have named the entry of this key. @returns its id */
  use(key: string): number {
    const id = this.ids.get(key)!;
    const entry = this.entries.get(id)!;
    entry.hits = 0;
    this.entries.delete(id);
    this.entries.set(id, entry);
    return id;
  }

  /** The call that some members have named the entry for came to nothing; what is remembered is as right as before. */
  release(key: string): void {
    const entry = this.entries.get(this.ids.get(key) ?? 0);
    if (entry) entry.hits = 0;
  }

  /** Takes in what was decided, one call a member, in place of what was remembered under its name. @returns its id; 0: there is no room */
  remember(calls: readonly Call[]): number {
    const [first] = calls as [Call];
    const key = callKey(first);
    this.forget(key);
    if (this.capacity === 0 || this.lastId === mostIds || !this.makeRoom()) return 0;
    this.lastId += 1;
    this.entries.set(this.lastId, { key, calls: calls.every((call) => isSameCall(call, first)) ? [first] : calls, hits: 0 });
    this.ids.set(key, this.lastId);
    return this.lastId;
  }

  private makeRoom(): boolean {
    if (this.entries.size < this.capacity) return true;
    for (const { key, hits } of this.entries.values()) {
      if (hits > 0) continue;
      this.forget(key);
      return true;
    }
    return false;
  }

  private forget(key: string): void {
    const id = this.ids.get(key);
    if (id === undefined) return;
    this.ids.delete(key);
    this.entries.delete(id);
    this.evicted.push(id);
  }

  /** Ids forgotten since the last time, to be announced after the decisions that may still name them. */
  takeEvicted(): number[] {
    const { evicted } = this;
    this.evicted = [];
    return evicted;
  }
}

/** A rank's side: which of its own calls the coordinator remembers. */
export class RequestCache {
  /** What an id stands for: the live ones, and those that this rank has named and not heard of since. */
  private readonly calls = new Map<number, Call>();
  /** By key: the live id. */
  private readonly ids = new Map<string, number>();
  /** By key: the id that this rank has sent and not heard of since. */
  private readonly named = new Map<string, number>();

  /** The id to send instead of this very call, which counts as sent; undefined: it has to go in full. */
  lookup(call: Call): number | undefined {
    const key = callKey(call);
    const id = this.ids.get(key);
    if (id === undefined || !isSameCall(this.calls.get(id)!, call)) return undefined;
    this.named.set(key, id);
    return id;
  }

  /** The coordinator has decided on this rank's call and remembers it under `id`. */
  remember(id: number, call: Call): void {
    this.calls.set(id, call);
    this.ids.set(callKey(call), id);
  }

  /** This rank's call has ended: nobody will ask for it again. */
  answered(call: Call): void {
    const key = callKey(call);
    const id = this.named.get(key);
    if (id === undefined) return;
    this.named.delete(key);
    if (this.ids.get(key) !== id) this.calls.delete(id);
  }

  /** The coordinator has forgotten these. */
  evict(ids: readonly number[]): void {
    for (const id of ids) {
      const call = this.calls.get(id);
      if (!call) continue;
      const key = callKey(call);
      if (this.ids.get(key) === id) this.ids.delete(key);
      if (this.named.get(key) !== id) this.calls.delete(id);
    }
  }

  /** The coordinator had forgotten these when it was given them. @returns their calls that have not ended, each once: they have to go in full */
  refused(ids: readonly number[]): Call[] {
    this.evict(ids);
    const toSend: Call[] = [];
    for (const id of ids) {
      const call = this.calls.get(id);
      if (!call) continue;
      this.answered(call);
      toSend.push(call);
    }
    return toSend;
  }

  /** The call the coordinator means by `id` in a response. */
  callOf(id: number): Call | undefined {
    return this.calls.get(id);
  }
}
