/**
 * Rates and times as people write them, and what a host is taken to be where nothing else is said. Pure.
 *
 * What processors cost is rounded from single measurements on x86 cores of 2 to 3 GHz, and in part estimated (docs/simulation.md says what).
 */
import { UsageError } from '../errors';
import type { NetworkSpec } from './network';

/** Ethernet's frames of 1,500 bytes carry 1,448 of a TCP stream and take 1,538 on the line. */
export const ETHERNET_SHARE = 1448 / 1538;
/** A limit that the kernel sets counts neither preamble, checksum nor the gap between frames. */
export const SHAPED_SHARE = 1448 / 1514;

const units: Readonly<Record<string, number>> = { kbit: 1e3, mbit: 1e6, gbit: 1e9 };
/** Of a second. */
const spans: Readonly<Record<string, number>> = { us: 1e6, ms: 1e3, s: 1 };

/** Bytes per second of a line, from `25gbit`, `100mbit`. @throws UsageError it is no rate */
export function rateOf(text: string): number {
  const found = /^(\d+(?:\.\d+)?)(kbit|mbit|gbit)$/.exec(text);
  const rate = found ? (Number(found[1]) * units[found[2]!]!) / 8 : 0;
  if (!(rate > 0)) throw new UsageError(`'${text}' is no rate. Write it as 25gbit or 100mbit, above 0.`);
  return rate;
}

/** Seconds, from `20us`, `1.5ms`. @throws UsageError it is no time */
export function secondsOf(text: string): number {
  const found = /^(\d+(?:\.\d+)?)(us|ms|s)$/.exec(text);
  if (!found) throw new UsageError(`'${text}' is no time. Write it as 20us or 1.5ms.`);
  return Number(found[1]) / spans[found[2]!]!;
}

export const defaultNetwork: NetworkSpec = {
  rate: rateOf('25gbit') * ETHERNET_SHARE,
  latency: 20e-6,
  ranksPerHost: 8,
  localRate: 25e9,
  cores: 32,
  hostsPerMachine: 1,
  socketBytes: 4 << 20,
  costs: {
    message: 25e-6,
    sendByte: 0.2e-9,
    receiveByte: 0.2e-9,
    reduceByte: 0.1e-9,
    applyByte: 0.2e-9,
    request: 10e-6,
    copyByte: 0.1e-9,
    updateByte: 0.02e-9,
  },
};
