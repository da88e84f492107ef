/** Workers and servers in one process, over transports in memory: what tests of parameter servers train with. */
import type { ErrorRecord, HvdError } from '../../../src/errors';
import { Arena, createMemory } from '../../../src/memory/arena';
import { makeKernels } from '../../../src/memory/kernels';
import { ServerClient, type ServerRequest } from '../../../src/parameter_server/client';
import type { Mode } from '../../../src/parameter_server/consistency';
import type { BucketPlace } from '../../../src/parameter_server/layout';
import type { RuleSpec } from '../../../src/parameter_server/rules';
import { ParameterServer } from '../../../src/parameter_server/server';
import { inProcessTransports } from '../../../src/transport/in_process';

export interface Settings {
  readonly workers: number;
  readonly servers: number;
  readonly rule: RuleSpec;
  readonly mode: Mode;
  /** Elements of each variable, by bucket. */
  readonly buckets: ReadonlyArray<readonly number[]>;
  readonly compression?: 'none' | 'fp16' | 'bf16';
}

/** A worker with memory of its own; its calls are promises. */
export class TestWorker {
  readonly arena: Arena;
  readonly buckets: BucketPlace[];
  readonly client: ServerClient;
  private readonly calls = new Map<number, { resolve(steps: number): void; reject(error: ErrorRecord): void }>();
  private nextId = 1;
  failure?: Error;

  constructor(
    readonly rank: number,
    private readonly settings: Settings,
    transports: { pushes: ReturnType<typeof inProcessTransports>; pulls: ReturnType<typeof inProcessTransports> },
  ) {
    const memory = createMemory(2048);
    this.arena = new Arena(memory, 64);
    this.buckets = settings.buckets.map((sizes) => {
      const elems = sizes.reduce((sum, size) => sum + size, 0);
      let from = 0;
      const variables = sizes.map((size) => {
        const variable = { from, elems: size };
        from += size;
        return variable;
      });
      return {
        byteOffset: this.arena.allocate(4 * (elems + sizes.length + 1)),
        elems,
        variables,
        halvesOffset: this.arena.allocate(2 * elems),
      };
    });
    this.client = new ServerClient({
      pushes: transports.pushes[rank]!,
      pulls: transports.pulls[rank]!,
      servers: Array.from({ length: settings.servers }, (_, i) => settings.workers + i),
      memory,
      kernels: makeKernels(memory),
      complete: ({ id }, { error, steps }) => {
        const call = this.calls.get(id)!;
        this.calls.delete(id);
        if (error) call.reject(error);
        else call.resolve(steps ?? 0);
      },
      fail: (error) => {
        this.failure = error;
      },
    });
  }

  private call(request: ServerRequest): Promise<number> {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.calls.set(id, { resolve, reject });
      this.client.submit({ id, slot: id, request });
    });
  }

  values(bucket: number): Float32Array {
    const { byteOffset, elems } = this.buckets[bucket]!;
    return this.arena.view('float32', byteOffset, elems) as Float32Array;
  }
  flags(bucket: number): Float32Array {
    const { byteOffset, elems, variables } = this.buckets[bucket]!;
    return this.arena.view('float32', byteOffset + 4 * elems, variables.length + 1) as Float32Array;
  }

  /** @param overrides of the spec, for workers that disagree */
  async open(values: (bucket: number, i: number) => number, overrides: object = {}): Promise<void> {
    const { workers, mode, rule, compression = 'none' } = this.settings;
    const spec = { name: 'test', mode, rule, compression, workers: Array.from({ length: workers }, (_, i) => i), ...overrides };
    const gives = this.rank === 0;
    await this.call({ kind: 'open', optimizer: 1, spec, buckets: this.buckets, gives });
    if (!gives) return;
    for (const bucket of this.buckets.keys())
      this.values(bucket).set(Float32Array.from({ length: this.buckets[bucket]!.elems }, (_, i) => values(bucket, i)));
    await this.call({ kind: 'values', optimizer: 1, slot: 0, steps: 0, isLast: true });
  }

  /** One step: a gradient for each element (undefined: none for that variable), all buckets at the same time. */
  async push(
    step: number,
    gradient: (bucket: number, i: number) => number,
    options: { rate?: number; without?: number[]; fails?: boolean } = {},
  ): Promise<void> {
    const { rate = 0.1, without = [], fails = false } = options;
    await Promise.all(
      this.buckets.map(({ variables, elems }, bucket) => {
        const values = this.values(bucket);
        for (let i = 0; i < elems; i += 1) values[i] = gradient(bucket, i);
        const flags = this.flags(bucket);
        variables.forEach((_, i) => {
          flags[i] = without.includes(i) ? 0 : 1;
        });
        flags[variables.length] = fails ? Number.NaN : 0;
        return this.call({ kind: 'push', optimizer: 1, bucket, step, learningRate: rate });
      }),
    );
  }
  close(): Promise<number> {
    return this.call({ kind: 'close', optimizer: 1 });
  }
  fetch(slot: number): Promise<number> {
    return this.call({ kind: 'fetch', optimizer: 1, slot });
  }
}

export interface Serving {
  readonly workers: TestWorker[];
  readonly servers: ParameterServer[];
  /** Of whom a server could take no more. */
  readonly lost: Array<{ worker: number; error: HvdError }>;
}

export function makeServing(settings: Settings, patience = { stallWarningMs: 0, stallFailMs: 0 }): Serving {
  const lost: Serving['lost'] = [];
  const total = settings.workers + settings.servers;
  const transports = { pushes: inProcessTransports(total, { lazy: true }), pulls: inProcessTransports(total, { lazy: true }) };
  const workers = Array.from({ length: settings.workers }, (_, rank) => new TestWorker(rank, settings, transports));
  const servers = Array.from({ length: settings.servers }, (_, i) => {
    const [pushes, pulls] = [transports.pushes[settings.workers + i]!, transports.pulls[settings.workers + i]!];
    const server = new ParameterServer({
      pushes,
      pulls,
      nameOf: (worker) => `rank ${worker}`,
      ...patience,
      lose: (worker, error) => void lost.push({ worker, error }),
    });
    for (const worker of workers) server.attach(worker.rank);
    return server;
  });
  return { workers, servers, lost };
}
