/** What a measurement was made on, for its record. Main thread. */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { type Config, knobs } from '../config';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly kernel: string;
  readonly architecture: string;
  readonly memoryBytes: number;
  /** Of TCP; it alone can halve what loopback reaches. undefined: the system does not say. */
  readonly congestionControl?: string;
}

export function describeMachine(): Machine {
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.cpus().length,
    kernel: `${os.type()} ${os.release()}`,
    architecture: os.arch(),
    memoryBytes: os.totalmem(),
    congestionControl: congestionControl(),
  };
}

function congestionControl(): string | undefined {
  try {
    return readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** The knobs of a job as their variables, but for those that tsrun sets. */
export function knobsOf(config: Config): Record<string, unknown> {
  const own = Object.entries(knobs).filter(([, { setByTsrun }]) => !setByTsrun);
  return Object.fromEntries(own.map(([field, { env }]) => [env, config[field as keyof typeof knobs] ?? null]));
}
