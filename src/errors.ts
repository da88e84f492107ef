/**
 * Every error this package throws, and how one crosses threads and processes.
 *
 * One table: class ↔ code. A message is a sentence that says what was tried, with whom, what happened, what to do. Errors travel (communication
 * thread → main thread, coordinator → ranks) as an `ErrorRecord`: plain data, revived by `reviveError`. Nothing decides on message text.
 */

/** The fields of an {@link HvdError}. */
export interface ErrorDetails {
  /** The rank that speaks. */
  rank?: number;
  /** The rank that it is about. */
  peer?: number;
  /** That rank's host. */
  host?: string;
  /** The name of the collective. */
  tensor?: string;
  /** The error behind it. */
  cause?: unknown;
}

/** Every error this package throws. The message says what was tried, with whom, what happened, what to do; programs decide by class or `code`, never by the message. */
export class HvdError extends Error {
  /** Stable, one for each class: 'ERR_HVD_…'. */
  readonly code: string = 'ERR_HVD';
  /** The rank that speaks, where it is not this one. */
  declare readonly rank?: number;
  /** The rank that it is about: who is gone, who disagrees. */
  declare readonly peer?: number;
  /** That rank's host. */
  declare readonly host?: string;
  /** The name of the collective. */
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
/** There is no job: before `init()`, or after `shutdown()`. */
export class NotInitializedError extends HvdError {
  override readonly code = 'ERR_HVD_NOT_INITIALIZED';
}
/** That name is still in flight on this rank. */
export class DuplicateNameError extends UsageError {
  override readonly code = 'ERR_HVD_DUPLICATE_NAME';
}
/** The process set is not registered, was removed, or this rank is no member of it. */
export class ProcessSetError extends UsageError {
  override readonly code = 'ERR_HVD_PROCESS_SET';
}
/** The ranks disagree; every rank gets it, the text shows both sides, the job goes on. */
export class MismatchError extends HvdError {
  override readonly code = 'ERR_HVD_MISMATCH';
}
/** Another rank failed in the middle of a training step: the step was applied on no rank, the job goes on. That rank has the error itself. */
export class StepError extends HvdError {
  override readonly code = 'ERR_HVD_STEP';
}
/** A peer is gone, frozen or cut off; names it. Everything pending fails with it. */
export class PeerError extends HvdError {
  override readonly code = 'ERR_HVD_PEER';
}
/** Some ranks never submitted; says which, what, for how long. */
export class StallError extends HvdError {
  override readonly code = 'ERR_HVD_STALL';
}
/** A rank has left the job by `shutdown()` or the end of its program, so that a collective with it cannot be. */
export class ShutdownError extends HvdError {
  override readonly code = 'ERR_HVD_SHUTDOWN';
}
/** The job did not form: a rank did not come in time (names it and its host), or there is no key. Thrown by `init()`. */
export class RendezvousError extends HvdError {
  override readonly code = 'ERR_HVD_RENDEZVOUS';
}
/** TensorFlow.js, or the backend that was asked for, cannot be loaded; says why, and how to install it. */
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
  StepError,
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
