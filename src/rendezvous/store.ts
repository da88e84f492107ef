/**
 * A rank's side of the key–value store (server.ts). Communication thread.
 *
 * Invariants: every call ends: with its answer, at its deadline, or, when the connection is lost, at once and with an error that names the server's address; calls
 * made after that fail the same way. Nothing here ends the job: what matters is that ranks can meet, and those that have met need the store no more.
 */
import { type HvdError, RendezvousError } from '../errors';
import { log } from '../log';
import { dial } from '../transport/dial';
import { addressText, capitalized, endWithin } from '../transport/socket';
import { encodeFrame, FrameParser } from '../wire/frame';
import { khorovod } from '../wire/generated/messages';
import { type Identity, LAUNCHER_RANK } from '../wire/handshake';
import { MOST_FRAME_BYTES, refusalOf } from './limits';

export interface Store {
  /** This end of the connection: an address by which this host reaches whoever serves the store. */
  readonly localAddress: string;
  /** Sets or replaces. @throws RendezvousError refused, or no answer in time */
  set(key: string, value: Uint8Array): Promise<void>;
  /** The value, as soon as there is one. @throws KeyAbsentError still none after `timeoutMs`; RendezvousError refused, or the connection is lost */
  get(key: string, timeoutMs: number): Promise<Uint8Array>;
  /** Tells the launcher; not answered. Does nothing once the connection is closed; one that is too long is logged and left out. */
  report(rank: number, json: string): void;
  /** What was set and reported is still sent; pending calls fail. */
  close(): void;
}

/** Nobody has set that key in time. */
export class KeyAbsentError extends RendezvousError {}

const MOST_RANK = 2 ** 31;
/** So long a closed store may take to send what it still has. */
const CLOSE_MS = 2000;

/**
 * Waits for the server to come, if need be.
 *
 * @param timeoutMs for connecting, and then for each `set`
 * @throws RendezvousError nobody there who proves the job key, in time
 */
export async function connectStore({
  identity,
  host,
  port,
  timeoutMs,
  server = 'the launcher',
  awaitListener = true,
}: {
  identity: Identity;
  host: string;
  port: number;
  timeoutMs: number;
  /** Who serves it, for errors. */
  server?: string;
  /** Nobody listening there yet is waited for too. */
  awaitListener?: boolean;
}): Promise<Store> {
  const socket = await dial({ identity, to: LAUNCHER_RANK, host, port, channel: 'store', timeoutMs, server, awaitListener });
  const where = `the rendezvous at ${addressText(host, port)}`;
  // The tsruns of a job with one on each host number themselves down from the launcher's rank.
  const who = identity.rank > MOST_RANK ? 'this tsrun' : `rank ${identity.rank}`;
  const parser = new FrameParser(MOST_FRAME_BYTES);
  const asked = new Map<number, { answer(value: Uint8Array): void; fail(error: HvdError): void }>();
  let nextId = 1;
  let lost: RendezvousError | undefined;

  function lose(how: string, cause?: unknown): void {
    lost ??= new RendezvousError(`${capitalized(who)} has lost ${where}: ${how}. If ${server} has ended, its output says why.`, {
      cause,
    });
    for (const { fail } of asked.values()) fail(lost);
    asked.clear();
  }
  function hear({ id, value, error }: khorovod.StoreReply): void {
    const call = asked.get(id);
    asked.delete(id);
    if (error) call?.fail(new RendezvousError(`${capitalized(where)} refused what ${who} asked: ${error}.`));
    // A copy: the value is a view of what was read.
    else call?.answer(Uint8Array.from(value));
  }
  function tell(request: khorovod.IStoreRequest): void {
    if (socket.writable) socket.write(encodeFrame(khorovod.StoreRequest.encode(request).finish()));
  }
  function call(request: khorovod.IStoreRequest, ms: number, onLate: (id: number) => HvdError): Promise<Uint8Array> {
    if (lost) return Promise.reject(lost);
    return new Promise((resolve, reject) => {
      const id = nextId++;
      const timer = setTimeout(() => {
        asked.delete(id);
        reject(onLate(id));
      }, ms);
      const settle =
        <T>(act: (outcome: T) => void) =>
        (outcome: T): void => {
          clearTimeout(timer);
          act(outcome);
        };
      asked.set(id, { answer: settle(resolve), fail: settle(reject) });
      tell({ ...request, id });
    });
  }
  function refuse(key: string, value: Uint8Array): void {
    const refusal = refusalOf(key, value);
    if (refusal) throw new RendezvousError(`${capitalized(where)} does not take '${key.slice(0, 80)}' of ${who}: ${refusal}.`);
  }

  socket.on('error', (error) => lose(error.message, error));
  socket.on('close', () => lose('the connection closed'));
  socket.on('data', (chunk) => {
    try {
      for (const frame of parser.push(chunk as Buffer)) hear(khorovod.StoreReply.decode(frame));
    } catch (error) {
      lose(`it sent what is no reply: ${(error as Error).message}`, error);
      socket.destroy();
    }
  });
  socket.resume();

  const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
  return {
    localAddress: socket.localAddress ?? '',
    async set(key, value) {
      refuse(key, value);
      const late = () => new RendezvousError(`${capitalized(where)} did not answer ${who} within ${seconds(timeoutMs)} ('${key}').`);
      await call({ set: { key, value } }, timeoutMs, late);
    },
    async get(key, ms) {
      refuse(key, new Uint8Array(0));
      return call({ get: { key } }, ms, (id) => {
        tell({ id, forget: {} });
        return new KeyAbsentError(`Nobody has set '${key}' at ${where} within ${seconds(ms)}.`);
      });
    },
    report(rank, json) {
      const frame = khorovod.StoreRequest.encode({ id: 0, report: { rank, json } }).finish();
      if (frame.length <= MOST_FRAME_BYTES) {
        if (socket.writable) socket.write(encodeFrame(frame));
        return;
      }
      // Not worth the job's life.
      log('WARNING', `A report of ${frame.length} bytes is left out: ${where} takes ${MOST_FRAME_BYTES}.`);
    },
    close() {
      lose('this rank has closed it');
      void endWithin(socket, CLOSE_MS).then(() => socket.destroy());
    },
  };
}
