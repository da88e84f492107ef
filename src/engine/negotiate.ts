/** The coordinator's decision. Pure. */
import { type ErrorRecord, MismatchError, recordOf, ShutdownError } from '../errors';
import { type Call, isSameShape } from './call';

export interface DecidedCall {
  names: string[];
  kind: string;
  error?: ErrorRecord;
  cached: number[];
  cacheAs: number[];
  sizes: number[][];
}

export class Negotiator {
  private readonly table = new Map<string, Map<number, Call>>();
  private readonly cache = new Map<number, { name: string; calls: Map<number, Call> }>();
  private readonly ids = new Map<string, number>();
  private readonly hits = new Map<string, Set<number>>();
  private nextId = 1;
  private responses: DecidedCall[] = [];
  private evicted: number[] = [];
  private departed?: ErrorRecord;

  constructor(
    private readonly options: {
      members: readonly number[];
      hostOf: (rank: number) => string;
      cacheCapacity: number;
      fusionThresholdBytes: number;
    },
  ) {}

  add(rank: number, { full, cached }: { full: readonly Call[]; cached: readonly number[] }, _nowMs: number): { resend: number[] } {
    const resend: number[] = [];
    for (const id of cached) {
      const entry = this.cache.get(id);
      if (!entry) resend.push(id);
      else this.put(rank, entry.calls.get(rank)!, id);
    }
    for (const call of full) {
      const id = this.ids.get(call.name);
      if (id !== undefined) this.drop(id);
      this.put(rank, call, undefined);
    }
    return { resend };
  }

  private drop(id: number): void {
    const entry = this.cache.get(id);
    if (!entry) return;
    this.cache.delete(id);
    this.ids.delete(entry.name);
    this.evicted.push(id);
  }

  private put(rank: number, call: Call, id: number | undefined): void {
    if (this.departed) {
      this.responses.push({ names: [call.name], kind: call.kind, error: this.departed, cached: [], cacheAs: [], sizes: [] });
      return;
    }
    let calls = this.table.get(call.name);
    if (!calls) this.table.set(call.name, (calls = new Map()));
    calls.set(rank, call);
    const hits = this.hits.get(call.name) ?? new Set();
    if (id !== undefined) hits.add(rank);
    this.hits.set(call.name, hits);
    if (calls.size < this.options.members.length) return;
    this.table.delete(call.name);
    this.hits.delete(call.name);
    const all = this.options.members.map((member) => calls.get(member)!);
    const first = all[0]!;
    const sizes = first.kind === 'allgather' ? first.parts.map((_, part) => all.map((one) => one.parts[part]?.[0] ?? 0)) : [];
    const error = this.mismatch(all);
    const isHit = hits.size === this.options.members.length && this.ids.get(call.name) === id && id !== undefined;
    let cacheAs = 0;
    if (!isHit && !error && this.options.cacheCapacity > 0 && first.kind !== 'barrier') {
      cacheAs = this.nextId++;
      this.cache.set(cacheAs, { name: call.name, calls });
      this.ids.set(call.name, cacheAs);
      if (this.cache.size > this.options.cacheCapacity)
        this.drop([...this.cache.keys()].find((key) => !this.hits.get(this.cache.get(key)!.name)?.size)!);
    }
    this.responses.push({ names: [call.name], kind: first.kind, error, cached: isHit ? [id] : [], cacheAs: [cacheAs], sizes });
  }

  private mismatch(all: readonly Call[]): ErrorRecord | undefined {
    const first = all[0]!;
    const checks: Array<[string, (call: Call) => string]> = [
      ['Mismatched operations', (call) => call.kind],
      ['Mismatched data types', (call) => call.dtype],
      [
        `Mismatched ${first.kind.toUpperCase()} tensor shapes`,
        (call) => JSON.stringify(call.kind === 'allgather' ? call.parts.map((shape) => shape.slice(1)) : call.parts),
      ],
      ['Mismatched prescale and/or postscale factors', (call) => `${call.prescale}, ${call.postscale}`],
      ['Mismatched reduction operation', (call) => call.op],
      [`Mismatched ${first.kind.toUpperCase()} root ranks`, (call) => String(call.root)],
      ['Mismatched grouping', (call) => String(call.grouped)],
    ];
    for (const [what, of] of checks) {
      const other = all.findIndex((call) => of(call) !== of(first));
      if (other >= 0) {
        const member = this.options.members;
        return recordOf(
          new MismatchError(
            `${what} for '${first.name}': rank ${member[0]} gave ${of(first)}, rank ${member[other]} gave ${of(all[other]!)}.`,
            { tensor: first.name },
          ),
        );
      }
    }
    return undefined;
  }

  depart(rank: number, reason: string): void {
    this.departed ??= recordOf(
      new ShutdownError(`Rank ${rank} on host ${this.options.hostOf(rank)} has left the job (${reason}).`, {
        peer: rank,
        host: this.options.hostOf(rank),
      }),
    );
    for (const [name, calls] of this.table)
      this.responses.push({ names: [name], kind: [...calls.values()][0]!.kind, error: this.departed, cached: [], cacheAs: [], sizes: [] });
    this.table.clear();
  }

  take(): { responses: DecidedCall[]; evicted: number[] } {
    const { responses, evicted } = this;
    this.responses = [];
    this.evicted = [];
    return { responses, evicted };
  }
  waiting(): unknown {
    return [];
  }
}
void isSameShape;
