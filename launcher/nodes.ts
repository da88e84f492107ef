/**
 * One tsrun a host, without ssh: the tsruns of all hosts meet at node 0's rendezvous, and end together. tsrun's process.
 *
 * Keys of the store: `node/<i>/here`, what that tsrun was asked for, `node/<i>/ended`, with which code. Invariants: no rank starts before all nodes are there and want the same job;
 * a node that fails or vanishes ends the others, with the code of the rank that failed first anywhere; node 0 serves until the others have ended.
 */
import { createHmac } from 'node:crypto';
import os from 'node:os';
import { chooseAddress, isLoopback, localInterfaces, serviceAddress } from '../src/rendezvous/interfaces';
import { readKeyFile } from '../src/rendezvous/key_file';
import { resolveHosts } from '../src/rendezvous/resolve';
import type { StoreServer } from '../src/rendezvous/server';
import { connectStore, KeyAbsentError, type Store } from '../src/rendezvous/store';
import { version } from '../src/version';
import { LAUNCHER_RANK } from '../src/wire/handshake';
import { LaunchError } from './errors';
import { pause } from './process';

export interface NodesOptions {
  readonly nodes: number;
  readonly nodeRank: number;
  /** Where node 0 serves. */
  readonly host: string;
  readonly port: number;
  readonly keyFile: string;
  readonly isInPod: boolean;
}

/** What all of them must want alike. */
interface Wish {
  readonly version: string;
  readonly nodes: number;
  readonly np: number;
  readonly ps: number;
}
interface Ended {
  readonly code: number;
  readonly text: string;
  /** It has come to its end with --keep-going: a failure of its ranks ends no other host. */
  readonly keepsGoing?: boolean;
}

/** As long as a timer can. */
const FOR_EVER_MS = 2 ** 31 - 1;
const TELL_MS = 1000;
/** So long the others may take to end their ranks when the job has failed. */
const LEAVE_MS = 10_000;

export class Nodes {
  /** Whom `onEnded` tells; until then it is kept. */
  private readonly ends: Promise<Ended | undefined>[];
  private isLeaving = false;

  private constructor(
    readonly options: NodesOptions,
    readonly jobId: string,
    readonly key: Uint8Array,
    private readonly client: Store,
    /** The ranks of this host listen there. */
    readonly address: string,
    readonly hostnames: readonly string[],
  ) {
    this.ends = hostnames.map((_, node) => this.endOf(node));
  }

  /** @throws LaunchError (exit 3) no key, nobody there in time, or they want different jobs */
  static async meet(
    options: NodesOptions,
    {
      np,
      ps,
      tls,
      store,
      timeoutMs,
      networkInterface,
    }: { np: number; ps: number; tls: boolean; store: StoreServer; timeoutMs: number; networkInterface?: string },
  ): Promise<Nodes> {
    try {
      const { nodes, nodeRank, host, port } = options;
      const key = readKeyFile(options.keyFile, options);
      const jobId = createHmac('sha256', key).update(`nodes ${host}:${port}`).digest('hex').slice(0, 32);
      const remedy = 'Is --rdzv-endpoint the name of the host of node 0, as this host knows it?';
      const found = await resolveHosts({ hosts: [host], whom: 'node 0', remedy, timeoutMs: options.isInPod ? undefined : timeoutMs });
      let at = found[0]!;
      if (nodeRank === 0) {
        at = found.every(isLoopback) && host !== os.hostname() ? at : (serviceAddress(found, localInterfaces(), networkInterface) ?? at);
        const onLeft = (from: number): void => {
          const key = endedKey(LAUNCHER_RANK - 1 - from);
          const gone: Ended = { code: 1, text: 'its tsrun is gone' };
          if (from >= LAUNCHER_RANK - nodes && !store.has(key)) store.put(key, Buffer.from(JSON.stringify(gone)));
        };
        await store.listen({ jobId, key, tls, host: at, port, size: np + ps + nodes, onLeft });
      }
      const identity = { jobId, key, tls, generation: 0, rank: LAUNCHER_RANK - 1 - nodeRank };
      const client = await connectStore({ identity, host: at, port, timeoutMs, server: 'node 0' });
      const hostnames = await agree(client, options, { version, nodes, np, ps }, timeoutMs);
      const own = networkInterface === undefined ? client.localAddress : chooseAddress(localInterfaces(), networkInterface)!;
      return new Nodes(options, jobId, key, client, own, hostnames);
    } catch (error) {
      // The others read at node 0 what it wanted, and say themselves what is wrong.
      if (options.nodeRank === 0 && error instanceof LaunchError) await pause(TELL_MS);
      throw error instanceof LaunchError ? error : new LaunchError((error as Error).message, 3);
    }
  }

  /** Where this host's ranks find the store; undefined: through their agent. */
  get rendezvous(): string | undefined {
    const { host, port, nodeRank } = this.options;
    return nodeRank === 0 ? undefined : host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  }

  /** Calls back when another node has failed. */
  onFailed(act: (text: string, code: number) => void): void {
    for (const [node, end] of this.ends.entries()) {
      if (node === this.options.nodeRank) continue;
      void end.then((ended) => {
        if (this.isLeaving || ended?.code === 0 || ended?.keepsGoing) return;
        const who = `node ${node} (host ${this.hostnames[node]})`;
        act(ended ? `${who} has failed: ${ended.text}` : `the tsrun of node 0 (host ${this.hostnames[0]}) is gone`, ended?.code ?? 1);
      });
    }
  }

  /** Calls back when all others have ended, whatever with. */
  onOthersThrough(act: () => void): void {
    void Promise.all(this.ends.filter((_, node) => node !== this.options.nodeRank)).then(act);
  }

  /** This host is through with the job. Node 0 waits for the others, as they need its store. */
  async leave(ended: Ended): Promise<void> {
    this.isLeaving = true;
    try {
      await this.client.set(endedKey(this.options.nodeRank), Buffer.from(JSON.stringify(ended)));
    } catch {
      return; // node 0 is gone: there is nobody to be told
    }
    if (this.options.nodeRank === 0) {
      const all = Promise.all(this.ends);
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise((resolve) => {
        if (ended.code !== 0 && !ended.keepsGoing) timer = setTimeout(resolve, LEAVE_MS);
      });
      await Promise.race([all, late]);
      clearTimeout(timer);
    }
    this.client.close();
  }

  /** undefined: node 0 is gone. */
  private async endOf(node: number): Promise<Ended | undefined> {
    try {
      return JSON.parse(Buffer.from(await this.client.get(endedKey(node), FOR_EVER_MS)).toString()) as Ended;
    } catch {
      return undefined;
    }
  }
}

const hereKey = (node: number): string => `node/${node}/here`;
const endedKey = (node: number): string => `node/${node}/ended`;

/** @returns the hosts' own names, by node */
async function agree(client: Store, { nodes, nodeRank, host, port }: NodesOptions, wish: Wish, timeoutMs: number): Promise<string[]> {
  await client.set(hereKey(nodeRank), Buffer.from(JSON.stringify({ ...wish, hostname: os.hostname(), pid: process.pid })));
  const answers = await Promise.allSettled(Array.from({ length: nodes }, (_, node) => client.get(hereKey(node), timeoutMs)));
  const lost = answers.find((answer) => answer.status === 'rejected' && !(answer.reason instanceof KeyAbsentError));
  if (lost) throw (lost as PromiseRejectedResult).reason;
  const missing = answers.flatMap((answer, node) => (answer.status === 'rejected' ? [node] : []));
  if (missing.length > 0)
    throw new LaunchError(
      `after ${timeoutMs / 1000} s node ${missing.join(', ')} of ${nodes} had not come to ${host}:${port}: start tsrun there with --node-rank ${missing[0]}, or raise --start-timeout`,
      3,
    );
  const told = answers.map((answer) => JSON.parse(Buffer.from((answer as PromiseFulfilledResult<Uint8Array>).value).toString()));
  for (const [node, theirs] of told.entries()) {
    for (const what of ['version', 'nodes', 'np', 'ps'] as const) {
      if (theirs[what] === wish[what]) continue;
      const names = { version: 'khorovod', nodes: '--nnodes', np: '-np', ps: '--ps' };
      throw new LaunchError(
        `node ${node} (host ${theirs.hostname}) has ${names[what]} ${theirs[what]}, this one ${wish[what]}: give all the same`,
        3,
      );
    }
  }
  if (told[nodeRank].pid !== process.pid || told[nodeRank].hostname !== os.hostname())
    throw new LaunchError(`two tsruns take themselves for node ${nodeRank}: this one, and one on host ${told[nodeRank].hostname}`, 3);
  return told.map(({ hostname }) => String(hostname));
}
