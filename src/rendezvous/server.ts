/** The store the launcher serves. */
import { Listener } from '../transport/listener';
import { encodeFrame, FrameParser } from '../wire/frame';
import { khorovod } from '../wire/generated/messages';
import { LAUNCHER_RANK } from '../wire/handshake';

export class StoreServer {
  private readonly values = new Map<string, Uint8Array>();
  private readonly waiting = new Map<string, Array<(value: Uint8Array) => void>>();
  private constructor(
    private readonly listener: Listener,
    private readonly sockets: Set<{ destroy(): void }>,
  ) {}
  get host(): string {
    return this.listener.host;
  }
  get port(): number {
    return this.listener.port;
  }
  static async start({
    jobId,
    key,
    host,
    portRange,
    onReport,
  }: {
    jobId: string;
    key: Uint8Array;
    host: string;
    portRange?: { first: number; last: number };
    onReport?: (rank: number, json: string) => void;
  }): Promise<StoreServer> {
    const listener = await Listener.open({ identity: { jobId, key, generation: 0, rank: LAUNCHER_RANK }, host, portRange });
    const sockets = new Set<{ destroy(): void }>();
    const server = new StoreServer(listener, sockets);
    listener.onLink('store', (_from, socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
      const parser = new FrameParser(2 << 20);
      socket.on('data', (chunk) => {
        try {
          for (const frame of parser.push(chunk as Buffer)) {
            const { id, set, get, report } = khorovod.StoreRequest.decode(frame);
            const answer = (value: Uint8Array): void => void socket.write(encodeFrame(khorovod.StoreReply.encode({ id, value }).finish()));
            if (set) {
              server.set(set.key ?? '', Uint8Array.from(set.value ?? []));
              answer(new Uint8Array());
            } else if (get) {
              const value = server.values.get(get.key ?? '');
              if (value) answer(value);
              else server.waiting.set(get.key ?? '', [...(server.waiting.get(get.key ?? '') ?? []), answer]);
            } else if (report) onReport?.(report.rank ?? 0, report.json ?? '');
          }
        } catch {
          socket.destroy();
        }
      });
      socket.resume();
    });
    return server;
  }
  private set(key: string, value: Uint8Array): void {
    this.values.set(key, value);
    for (const answer of this.waiting.get(key) ?? []) answer(value);
    this.waiting.delete(key);
  }
  async close(): Promise<void> {
    this.listener.close();
    for (const socket of this.sockets) socket.destroy();
  }
}
