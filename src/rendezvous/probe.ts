/**
 * Which addresses of a host do others reach? Each host listens on its own and dials the others'. Agent process, before any rank starts.
 *
 * An address counts as reached when whoever answers there proves that it holds the job key and is the host that was meant: the same address may stand on every host
 * (docker's bridge), or belong to somebody else.
 */
import { dial } from '../transport/dial';
import { Listener, type PortRange } from '../transport/listener';

/** No generation of ranks has it. */
const PROBE_GENERATION = 0xffffffff;
/** Between hosts that reach each other a connection takes milliseconds; what is dead costs this at every start. */
const PROBE_MS = 1500;
const MOST_PLACES = 1 << 16;

export interface Prober {
  readonly jobId: string;
  readonly key: Uint8Array;
  /** Which host of the job this is. */
  readonly place: number;
}
export interface Target {
  readonly place: number;
  readonly address: string;
  readonly port: number;
}

/** Can be tried until it is closed. `port` 0: this host cannot listen there. */
export interface ProbePort {
  readonly port: number;
  close(): void;
}

const identityOf = ({ jobId, key, place }: Prober) => ({ jobId, key, generation: PROBE_GENERATION, rank: place });

export async function openProbe(prober: Prober, address: string, portRange?: PortRange): Promise<ProbePort> {
  try {
    const listener = await Listener.open({ identity: identityOf(prober), size: MOST_PLACES, host: address, portRange });
    listener.onLink('control', (_from, socket) => socket.destroy());
    return { port: listener.port, close: () => listener.close() };
  } catch {
    return { port: 0, close: () => {} };
  }
}

/** In the order of the targets. */
export function probe(prober: Prober, targets: readonly Target[]): Promise<boolean[]> {
  return Promise.all(
    targets.map(async ({ place, address, port }) => {
      try {
        const socket = await dial({
          identity: identityOf(prober),
          to: place,
          host: address,
          port,
          channel: 'control',
          timeoutMs: PROBE_MS,
        });
        socket.destroy();
        return true;
      } catch {
        return false; // that address does not lead there from here
      }
    }),
  );
}
