/** A transport on which a rank also reaches itself: what it sends itself is copied, everything else goes over the one behind. Any thread. */
import type { HvdError } from '../errors';
import { Link } from './in_process';
import type { Transport } from './transport';

export function withSelf(behind: Transport): Transport {
  const { rank, size } = behind;
  const own = new Link(rank, rank);
  let cause: HvdError | undefined;
  return {
    rank,
    size,
    send: async (to, tag, bytes) => {
      if (to !== rank) return behind.send(to, tag, bytes);
      if (cause) throw cause;
      // As late as any transport may: the memory is the sender's again only when the receiver has it.
      return new Promise((resolve, reject) => own.put({ tag, bytes, resolve, reject }));
    },
    recv: async (from, tag, into) => {
      if (from !== rank) return behind.recv(from, tag, into);
      if (cause) throw cause;
      return new Promise((resolve, reject) => own.take({ tag, into, resolve, reject }));
    },
    abort(error) {
      cause ??= error;
      own.close(error, error);
      behind.abort(error);
    },
  };
}
