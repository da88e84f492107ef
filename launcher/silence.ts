/**
 * How long the other end of a channel has said nothing. Pure; tsrun and agent beat to each other, since a host that has lost its power or its network closes no connection.
 *
 * Who was stopped itself (SIGSTOP, a suspended machine) judges nobody: what the other said meanwhile still waits to be read.
 */
export const BEAT_MS = 500;
/** A beat this late: this process itself did not run. */
const STOPPED_MS = 4 * BEAT_MS;
/** Fewer beats than these may be lost by chance. */
const FEWEST_BEATS = 3;

/** After so long a silence the other end counts as gone. @param peerTimeoutSeconds `--peer-timeout` */
export const silenceLimitMs = (peerTimeoutSeconds: number): number => Math.max(peerTimeoutSeconds * 1000, FEWEST_BEATS * BEAT_MS);

export class Silence {
  private heardMs: number;
  private tickedMs: number;

  constructor(nowMs: number) {
    this.heardMs = this.tickedMs = nowMs;
  }

  hear(nowMs: number): void {
    this.heardMs = nowMs;
  }

  /** Every BEAT_MS. @returns so long it has been silent */
  tick(nowMs: number): number {
    if (nowMs - this.tickedMs > STOPPED_MS) this.heardMs = nowMs;
    this.tickedMs = nowMs;
    return nowMs - this.heardMs;
  }
}
