/** The launcher's ends of the connections that agents pass on from their ranks to the store. tsrun's process. */
import { Duplex } from 'node:stream';
import type { StoreServer } from '../src/rendezvous/server';
import type { khorovod } from '../src/wire/generated/messages';

export class StoreLinks {
  private readonly links = new Map<number, Duplex>();
  private newest = 0;

  /** Of one agent. */
  constructor(
    private readonly store: StoreServer,
    private readonly send: (bytes: khorovod.StoreBytes.$Properties) => void,
  ) {}

  take({ link, data, end }: khorovod.StoreBytes.$Properties): void {
    const number = link ?? 0;
    // Numbers grow; what comes of a link that the store has closed meanwhile is nobody's.
    const stream = this.links.get(number) ?? (number > this.newest ? this.open(number) : undefined);
    if (!stream) return;
    if (data && data.length > 0) stream.push(data);
    if (end) {
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
        this.links.delete(link);
        this.send({ link, end: true });
        done(error);
      },
    });
    this.newest = link;
    this.links.set(link, stream);
    this.store.serve(stream);
    return stream;
  }
}
