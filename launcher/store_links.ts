/** The launcher's ends of the connections that agents pass on from their ranks to the store. tsrun's process. */
import { Duplex } from 'node:stream';
import type { StoreServer } from '../src/rendezvous/server';
import type { khorovod } from '../src/wire/generated/messages';

export class StoreLinks {
  private readonly links = new Map<number, Duplex>();
  /** By the store, and the agent has not said yet that it knows. */
  private readonly closed = new Set<number>();

  /** Of one agent. */
  constructor(
    private readonly store: StoreServer,
    private readonly send: (bytes: khorovod.StoreBytes.$Properties) => void,
  ) {}

  take({ link, data, end }: khorovod.StoreBytes.$Properties): void {
    const number = link ?? 0;
    // What comes of a link that the store has closed meanwhile is nobody's.
    const stream = this.links.get(number) ?? (this.closed.has(number) ? undefined : this.open(number));
    if (end) this.closed.delete(number);
    if (!stream) return;
    if (data && data.length > 0) stream.push(data);
    if (end) {
      this.links.delete(number);
      stream.push(null);
      stream.destroy();
    }
  }

  /** The agent is gone. */
  close(): void {
    for (const stream of this.links.values()) stream.destroy();
  }

  private open(link: number): Duplex {
    const stream: Duplex = new Duplex({
      read: () => {},
      write: (data: Buffer, _encoding, done) => {
        this.send({ link, data });
        done();
      },
      destroy: (error, done) => {
        // Told once: not when the other end closed it.
        if (this.links.delete(link)) {
          this.closed.add(link);
          this.send({ link, end: true });
        }
        done(error);
      },
    });
    this.links.set(link, stream);
    this.store.serve(stream);
    return stream;
  }
}
