/**
 * Every error this package throws, and how one crosses threads and processes.
 *
 * One table: class ↔ code. A message is a sentence that says what was tried, with whom, what happened, what to do. Errors travel (communication
 * thread → main thread, coordinator → ranks) as an `ErrorRecord`: plain data, revived by `reviveError`. Nothing decides on message text.
 */

export interface ErrorDetails {
  rank?: number;
  peer?: number;
  host?: string;
  tensor?: string;
  cause?: unknown;
}

export class HvdError extends Error {
  readonly code: string = 'ERR_HVD';
  declare readonly rank?: number;
  declare readonly peer?: number;
  declare readonly host?: string;
  declare readonly tensor?: string;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    for (const key of ['rank', 'peer', 'host', 'tensor'] as const) {
      if (details[key] !== undefined) Object.defineProperty(this, key, { value: details[key], enumerable: true });
    }
  }
}

/** Wrong argument; thrown at the call, on this rank only. */
export class UsageError extends HvdError {
  override readonly code: string = 'ERR_HVD_USAGE';
}
export class NotInitializedError extends HvdError {
  override readonly code = 'ERR_HVD_NOT_INITIALIZED';
}
/** That name is still in flight on this rank. */
export class DuplicateNameError extends UsageError {
  override readonly code = 'ERR_HVD_DUPLICATE_NAME';
}
export class ProcessSetError extends UsageError {
  override readonly code = 'ERR_HVD_PROCESS_SET';
}
/** The ranks disagree; every rank gets it, the text shows both sides, the job goes on. */
export class MismatchError extends HvdError {
  override readonly code = 'ERR_HVD_MISMATCH';
}
/** A peer is gone, frozen or cut off; names it. Everything pending fails with it. */
export class PeerError extends HvdError {
  override readonly code = 'ERR_HVD_PEER';
}
/** Some ranks never submitted; says which, what, for how long. */
export class StallError extends HvdError {
  override readonly code = 'ERR_HVD_STALL';
}
export class ShutdownError extends HvdError {
  override readonly code = 'ERR_HVD_SHUTDOWN';
}
export class RendezvousError extends HvdError {
  override readonly code = 'ERR_HVD_RENDEZVOUS';
}
export class BackendError extends HvdError {
  override readonly code = 'ERR_HVD_BACKEND';
}
/** Bytes that do not follow the protocol (or failed to prove the job key): the connection they came on is closed. */
export class WireError extends HvdError {
  override readonly code = 'ERR_HVD_WIRE';
}
/** An invariant of this package does not hold; nobody catches it. */
export class BugError extends HvdError {
  override readonly code = 'ERR_HVD_BUG';
}

const classes = [
  HvdError,
  UsageError,
  NotInitializedError,
  DuplicateNameError,
  ProcessSetError,
  MismatchError,
  PeerError,
  StallError,
  ShutdownError,
  RendezvousError,
  BackendError,
  WireError,
  BugError,
] as const;
const byCode = new Map(classes.map((type) => [new type('').code, type]));

/** An error as plain data. */
export interface ErrorRecord {
  code: string;
  message: string;
  rank?: number;
  peer?: number;
  host?: string;
  tensor?: string;
}

export function recordOf(error: unknown): ErrorRecord {
  if (error instanceof HvdError) {
    const { code, message, rank, peer, host, tensor } = error;
    return { code, message, rank, peer, host, tensor };
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: 'ERR_HVD_BUG', message: `unexpected error: ${text}. Please report it.` };
}

export function reviveError(record: ErrorRecord): HvdError {
  const type = byCode.get(record.code) ?? HvdError;
  return new type(record.message, record);
}
