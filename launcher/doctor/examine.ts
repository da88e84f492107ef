/**
 * What `tsrun doctor` asks of a host that only a process there can say: clock, disk, ports, backends of TensorFlow.js. Agent process, instead of a job.
 *
 * Nothing stays behind: the folder that is made is removed at once, the ports on which the other hosts may try this one, and that of the store, are the caller's to close. They stay open
 * until then: an agent of the same machine under another name needs ports of its own.
 */
import { constants } from 'node:fs';
import { access, statfs } from 'node:fs/promises';
import os from 'node:os';
import { openProbe, type ProbePort, type Prober } from '../../src/rendezvous/probe';
import { type PortRange, StoreRelay } from '../../src/rendezvous/relay';
import type { khorovod } from '../../src/wire/generated/messages';
import { checkBackends } from '../backends';
import { makeJobFolder, partOf, removeJobFolder } from '../key_file';

/** More say nothing new, and a range may be wide. */
const MOST_TRIED_PORTS = 64;
const LOOPBACK = '127.0.0.1';

export interface Examination {
  readonly examined: khorovod.Examined.$Properties;
  readonly prober: Prober;
  readonly probePorts: ProbePort[];
  readonly relay?: StoreRelay;
}

export async function examine(asked: khorovod.Examine.$Properties): Promise<Examination> {
  const clockMs = Date.now();
  const { jobId = '', key = new Uint8Array(), place = 0, wdir = '', addresses = [], firstPort = 0, lastPort = 0 } = asked;
  const prober = { jobId: jobId!, key: key!, place: place! };
  const portRange = firstPort ? { first: firstPort, last: lastPort ?? 0 } : undefined;
  const ports = portRange ? await freePorts(prober, addresses![0] ?? LOOPBACK, portRange) : { tried: 0, free: 0 };
  const { relay, problem: relayProblem } = await openRelay(prober, portRange);
  const probePorts: ProbePort[] = [];
  for (const address of addresses!) probePorts.push(await openProbe(prober, address, portRange));
  const [tmpFreeBytes, wdirFreeBytes, wdirProblem] = await Promise.all([freeBytes(os.tmpdir()), freeBytes(wdir!), whyNotEntered(wdir!)]);
  const backends = wdirProblem === '' ? await checkBackends(wdir!) : [];
  return {
    prober,
    probePorts,
    relay,
    examined: {
      clockMs,
      tookMs: Date.now() - clockMs,
      tmpFreeBytes,
      tmpProblem: whyNoFolder(partOf(prober.jobId, prober.place), prober.key),
      wdirFreeBytes,
      wdirProblem,
      ports: probePorts.map(({ port }) => port),
      triedPorts: ports.tried,
      freePorts: ports.free,
      relayProblem,
      backends,
    },
  };
}

/** As listeners of ranks would take them. */
async function freePorts(prober: Prober, address: string, { first, last }: PortRange) {
  const tried = Array.from({ length: Math.min(MOST_TRIED_PORTS, last - first + 1) }, (_, i) => first + i);
  const opened = await Promise.all(tried.map((port) => openProbe(prober, address, { first: port, last: port })));
  for (const { close } of opened) close();
  return { tried: tried.length, free: opened.filter(({ port }) => port !== 0).length };
}

/** As a job does, before any other port of it is opened. */
async function openRelay({ jobId, key }: Prober, portRange?: PortRange): Promise<{ relay?: StoreRelay; problem: string }> {
  try {
    return { relay: await StoreRelay.open({ jobId, key, size: 0, portRange, onBytes: () => {} }), problem: '' };
  } catch (error) {
    return { problem: (error as Error).message };
  }
}

/** −1: not known. */
async function freeBytes(folder: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  } catch {
    return -1; // it is not there: told by the problem of that folder
  }
}

async function whyNotEntered(folder: string): Promise<string> {
  try {
    // Not by path.join, which takes the dot away: it is what a file has not.
    await access(`${folder}/.`, constants.X_OK);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

function whyNoFolder(part: string, key: Uint8Array): string {
  try {
    makeJobFolder(part, key);
    return '';
  } catch (error) {
    return (error as Error).message;
  } finally {
    removeJobFolder(part);
  }
}
