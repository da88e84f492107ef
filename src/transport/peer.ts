/** Another process of the job as its links know it: how it is called, where it listens, how it is dialled. Communication thread. */
import type net from 'node:net';
import { PeerError } from '../errors';
import { log } from '../log';
import { type DialOptions, dial } from './dial';

export interface Peer {
  rank: number;
  host: string;
  address: string;
  port: number;
  /** How messages call it; default: `rank 1 on host h`. */
  name?: string;
  /** TCP streams on which it sends; default: 1. By Unix socket or shared memory there is one. */
  streams?: number;
  /** The Unix socket by which this process reaches it, and who hears that it does not after all. */
  near?: { readonly unixName: string; onRefused(why: string): void };
}
export const nameOf = ({ name, rank, host }: Peer): string => name ?? `rank ${rank} on host ${host}`;

/** @param what is over, as a sentence without its end @param cause the socket's error; undefined: it has closed without one */
export const goneError = ({ rank, host }: Peer, what: string, cause: Error | undefined): PeerError =>
  new PeerError(`${what}: ${cause?.message ?? 'the connection closed'}. See its own output.`, { peer: rank, host, cause });

/** Left of a deadline that is over: its timer may end a moment early. */
const LEAST_MS = 10;

/**
 * By its Unix socket where there is one and it works, by TCP otherwise; one deadline over both. As `dial`.
 *
 * That TCP carries what a Unix socket should have is told only once it does: a peer that is gone refuses both.
 */
export async function dialPeer(
  peer: Peer,
  options: Pick<DialOptions, 'identity' | 'channel' | 'stream' | 'timeoutMs' | 'onread' | 'signal'>,
): Promise<net.Socket> {
  const { rank: to, name: peerName, host: hostName, address: host, port, near } = peer;
  const toPeer = { ...options, to, peerName, hostName, host, port };
  const say = (by: string): void => log('DEBUG', `The ${options.channel} link with ${nameOf(peer)} goes over ${by}.`);
  const deadlineMs = performance.now() + options.timeoutMs;
  let refusal: Error | undefined;
  if (near) {
    try {
      const socket = await dial({ ...toPeer, unixName: near.unixName });
      say('a Unix socket');
      return socket;
    } catch (error) {
      refusal = error as Error;
    }
    options.signal?.throwIfAborted();
    if (deadlineMs - performance.now() < LEAST_MS) throw refusal;
  }
  const socket = await dial({ ...toPeer, timeoutMs: deadlineMs - performance.now() });
  say('TCP');
  if (refusal) near!.onRefused(refusal.message);
  return socket;
}
