import t from 'tap';
import { HvdError } from '../../../src/errors';
import { inProcessTransports } from '../../../src/transport/in_process';

const pair = (options?: { lazy?: boolean }) => {
  const [left, right] = inProcessTransports(2, options);
  return { left: left!, right: right! };
};

t.test('messages arrive in the order sent, whoever comes first', async (t) => {
  const { left, right } = pair();
  const [first, second, third] = [new Uint8Array(2), new Uint8Array(1), new Uint8Array(1)];
  const early = right.recv(0, 5, first);
  await left.send(1, 5, Uint8Array.of(1, 2));
  await left.send(1, 6, Uint8Array.of(3));
  await left.send(1, 7, Uint8Array.of(4));
  await Promise.all([early, right.recv(0, 6, second), right.recv(0, 7, third)]);
  t.same([...first, ...second, ...third], [1, 2, 3, 4]);
  t.equal(left.bytesSent, 4);
  t.equal(right.bytesSent, 0);
});

t.test('a send has copied its bytes when it resolves', async (t) => {
  const { left, right } = pair();
  const bytes = Uint8Array.of(1);
  await left.send(1, 0, bytes);
  bytes[0] = 9;
  const into = new Uint8Array(1);
  await right.recv(0, 0, into);
  t.equal(into[0], 1);
});

t.test('a lazy send resolves and reads its bytes only when the receiver takes them', async (t) => {
  const { left, right } = pair({ lazy: true });
  const bytes = Uint8Array.of(1);
  let isSent = false;
  const sending = left.send(1, 0, bytes).then(() => {
    isSent = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(isSent, false);
  bytes[0] = 9;
  const into = new Uint8Array(1);
  await right.recv(0, 0, into);
  await sending;
  t.equal(into[0], 9);
});

t.test('another tag or another length is a WireError that names both sides', async (t) => {
  const { left, right } = pair();
  await left.send(1, 1, new Uint8Array(3));
  await t.rejects(right.recv(0, 2, new Uint8Array(3)), { code: 'ERR_HVD_WIRE', message: /tag 2 from rank 0.*with tag 1/, peer: 0 });
  await left.send(1, 1, new Uint8Array(3));
  await t.rejects(right.recv(0, 1, new Uint8Array(4)), { code: 'ERR_HVD_WIRE', message: /4 bytes .* sent 3/ });
});

t.test('after abort every pending and later call fails with the first cause, the peers with an error that names the rank', async (t) => {
  const { left, right } = pair({ lazy: true });
  const cause = new HvdError('first');
  const pending = [left.send(1, 0, new Uint8Array(1)), left.recv(1, 0, new Uint8Array(1))];
  const settled = Promise.allSettled(pending);
  left.abort(cause);
  left.abort(new HvdError('second'));
  for (const outcome of await settled) t.match(outcome, { status: 'rejected', reason: cause });
  await t.rejects(left.send(1, 0, new Uint8Array(1)), cause);
  await t.rejects(left.recv(1, 0, new Uint8Array(1)), cause);
  await t.rejects(right.recv(0, 0, new Uint8Array(1)), { code: 'ERR_HVD_PEER', peer: 0, message: /first/ });
  await t.rejects(right.send(0, 0, new Uint8Array(1)), { code: 'ERR_HVD_PEER', peer: 0 });
});

t.test('a receive that already waits for a rank that aborts fails too', async (t) => {
  const { left, right } = pair();
  const waiting = t.rejects(right.recv(0, 0, new Uint8Array(1)), { code: 'ERR_HVD_PEER', peer: 0 });
  left.abort(new HvdError('gone'));
  await waiting;
});

t.test('size and ranks are those of the group', async (t) => {
  t.same(
    inProcessTransports(3).map(({ rank, size }) => [rank, size]),
    [
      [0, 3],
      [1, 3],
      [2, 3],
    ],
  );
});
