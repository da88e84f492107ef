/** A rank's side of the store. */
import { RendezvousError } from '../errors';
import { dial } from '../transport/dial';
import { encodeFrame, FrameParser } from '../wire/frame';
import { khorovod } from '../wire/generated/messages';
import { type Identity, LAUNCHER_RANK } from '../wire/handshake';

export interface Store {
  set(key: string, value: Uint8Array): Promise<void>;
  get(key: string, timeoutMs: number): Promise<Uint8Array>;
  report(rank: number, json: string): void;
  close(): void;
}
export async function connectStore({
  identity,
  host,
  port,
  timeoutMs,
}: {
  identity: Identity;
  host: string;
  port: number;
  timeoutMs: number;
}): Promise<Store> {
  const socket = await dial({ identity, to: LAUNCHER_RANK, host, port, channel: 'store', timeoutMs });
  const parser = new FrameParser(2 << 20);
  const asked = new Map<number, (value: Uint8Array) => void>();
  let nextId = 1;
  socket.on('data', (chunk) => {
    for (const frame of parser.push(chunk as Buffer)) {
      const { id, value } = khorovod.StoreReply.decode(frame);
      asked.get(id)?.(Uint8Array.from(value));
      asked.delete(id);
    }
  });
  socket.resume();
  const call = (request: khorovod.IStoreRequest, ms: number): Promise<Uint8Array> =>
    new Promise((resolve, reject) => {
      const id = nextId++;
      const timer = setTimeout(() => {
        asked.delete(id);
        reject(new RendezvousError(`no answer within ${ms} ms`));
      }, ms);
      asked.set(id, (value) => {
        clearTimeout(timer);
        resolve(value);
      });
      socket.write(encodeFrame(khorovod.StoreRequest.encode({ ...request, id }).finish()));
    });
  return {
    set: async (key, value) => void (await call({ set: { key, value } }, timeoutMs)),
    get: (key, ms) => call({ get: { key } }, ms),
    report: (rank, json) => void socket.write(encodeFrame(khorovod.StoreRequest.encode({ id: 0, report: { rank, json } }).finish())),
    close: () => socket.end(),
  };
}
