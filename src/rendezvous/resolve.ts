/**
 * Waits for a host name to mean an address. Communication thread.
 *
 * In Kubernetes the name of a pod appears some seconds after the pod, and who asked before that is told "no such name" from a cache for 30 s more: a name that is not known is
 * therefore asked for again, for two minutes. How long the ranks wait for each other counts from then on.
 */
import { lookup } from 'node:dns/promises';
import { RendezvousError } from '../errors';
import { log } from '../log';

export const RESOLVE_MS = 120_000;
/** Then the user is told what is being waited for. */
const QUIET_MS = 10_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;
/** Not yet, or not now; anything else is final. */
const PASSING = new Set(['ENOTFOUND', 'EAI_AGAIN', 'ENODATA', 'ESERVFAIL', 'ETIMEOUT', 'EREFUSED']);

export interface ResolveOptions {
  /** Names or addresses that all lead to the same host. */
  readonly hosts: readonly string[];
  /** Whom they lead to, for messages. */
  readonly whom: string;
  /** What to do when there is no such name. */
  readonly remedy: string;
  readonly timeoutMs?: number;
  readonly ask?: (host: string) => Promise<ReadonlyArray<{ address: string }>>;
}

/** The addresses of the names that are known, as soon as one is. @throws RendezvousError the names, for how long, what to do */
export async function resolveHosts(options: ResolveOptions): Promise<string[]> {
  const { hosts, whom, remedy, timeoutMs = RESOLVE_MS, ask = (host) => lookup(host, { all: true }) } = options;
  const startedMs = performance.now();
  let isSaid = false;
  for (let tries = 0; ; tries += 1) {
    const answers = await Promise.allSettled(hosts.map(ask));
    const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value.map(({ address }) => address) : []));
    if (addresses.length > 0) return [...new Set(addresses)];
    const error = (answers.find((answer) => answer.status === 'rejected') as PromiseRejectedResult | undefined)?.reason as
      | NodeJS.ErrnoException
      | undefined;
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(tries, 10));
    const waitedMs = performance.now() - startedMs;
    if (!PASSING.has(error?.code ?? 'ENODATA') || waitedMs + pauseMs > timeoutMs) {
      throw new RendezvousError(
        `The host of ${whom}, ${hosts.join(', ')}, has no address after ${(waitedMs / 1000).toFixed(0)} s and ${tries + 1} tries: ${error?.message ?? 'no answer'}. ${remedy}`,
        { cause: error },
      );
    }
    if (!isSaid && waitedMs > QUIET_MS) {
      isSaid = true;
      log('WARNING', `The host of ${whom}, ${hosts.join(', ')}, has no address yet; asking for up to ${timeoutMs / 1000} s.`);
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
