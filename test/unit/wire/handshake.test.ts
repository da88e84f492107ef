import t from 'tap';
import { type Channel, DialerHandshake, HELLO_BYTES, type Identity, LAUNCHER_RANK, ListenerHandshake } from '../../../src/wire/handshake';

const key = Buffer.alloc(32, 7);
const identity = (rank: number, other: Partial<Identity> = {}): Identity => ({ jobId: 'job', key, generation: 3, rank, ...other });
const dialer = (channel: Channel = 'data', other: Partial<Identity> = {}, to = 1) => new DialerHandshake(identity(0, other), to, channel);
const listener = (other: Partial<Identity> = {}, size: number | undefined = 4) => new ListenerHandshake(identity(1, other), size);

/** Both ends, as over a wire. @throws WireError */
function shake(left: DialerHandshake, right: ListenerHandshake): ListenerHandshake {
  right.verify(left.prove(right.reply(left.begin())));
  return right;
}

t.test('both ends prove the key, and the listener knows who came for what', async (t) => {
  for (const channel of ['control', 'data'] as const) {
    const { from, channel: came } = shake(dialer(channel), listener());
    t.same([from, came], [0, channel]);
  }
});

t.test('the store serves every generation and every rank', async (t) => {
  const serve = () => new ListenerHandshake({ jobId: 'job', key, generation: 0, rank: LAUNCHER_RANK });
  for (const [rank, generation] of [
    [0, 0],
    [LAUNCHER_RANK - 1, 9],
  ] as const) {
    const { from, channel } = shake(new DialerHandshake(identity(rank, { generation }), LAUNCHER_RANK, 'store'), serve());
    t.same([from, channel], [rank, 'store']);
  }
  const asLauncher = new DialerHandshake(identity(LAUNCHER_RANK), LAUNCHER_RANK, 'store');
  t.throws(() => serve().reply(asLauncher.begin()), { code: 'ERR_HVD_WIRE' });
});

t.test('a hello that does not fit the listener is refused before anything is proved', async (t) => {
  const cases: Array<[string, DialerHandshake, RegExp]> = [
    ['another generation', dialer('data', { generation: 4 }), /generation 4/],
    ['another listener', dialer('data', {}, 2), /meant for rank 2/],
    ['a rank outside the job', dialer('data', { rank: 4 }), /rank 4/],
    ['the rank of the listener', dialer('data', { rank: 1 }), /rank 1/],
  ];
  for (const [name, left, message] of cases) t.throws(() => listener().reply(left.begin()), { code: 'ERR_HVD_WIRE', message }, name);
  for (const at of [0, 3, 4, 5, 6, 7]) {
    const hello = Buffer.from(dialer().begin());
    hello[at]! ^= 0x40;
    t.throws(() => listener().reply(hello), { code: 'ERR_HVD_WIRE' }, `byte ${at}`);
  }
});

t.test('another key or job is noticed by the dialer, and by the listener if the dialer does not care', async (t) => {
  for (const other of [{ key: Buffer.alloc(32, 8) }, { jobId: 'job2' }]) {
    t.throws(() => shake(dialer('data', other), listener()), { code: 'ERR_HVD_WIRE', message: /listener did not prove/ });
    const [honest, thief, right] = [dialer(), dialer('data', other), listener()];
    right.reply(thief.begin());
    const stolen = honest.prove(listenerReplyTo(honest));
    t.throws(() => right.verify(stolen), { code: 'ERR_HVD_WIRE', message: /dialer did not prove/ });
  }
});
const listenerReplyTo = (left: DialerHandshake): Uint8Array => listener().reply(left.begin());

t.test('every byte of hello, reply and proof counts', async (t) => {
  for (let at = 8; at < HELLO_BYTES; at += 1) {
    const left = dialer();
    const hello = Buffer.from(left.begin());
    hello[at]! ^= 1;
    t.throws(() => left.prove(listener().reply(hello)), { code: 'ERR_HVD_WIRE' }, `hello ${at}`);
  }
  for (let at = 0; at < 64; at += 1) {
    const left = dialer();
    const reply = Buffer.from(listenerReplyTo(left));
    reply[at]! ^= 1;
    t.throws(() => left.prove(reply), { code: 'ERR_HVD_WIRE' }, `reply ${at}`);
  }
  for (let at = 0; at < 32; at += 1) {
    const [left, right] = [dialer(), listener()];
    const proof = Buffer.from(left.prove(right.reply(left.begin())));
    proof[at]! ^= 1;
    t.throws(() => right.verify(proof), { code: 'ERR_HVD_WIRE' }, `proof ${at}`);
  }
});

t.test('a recorded hello and proof fail against a fresh listener', async (t) => {
  const [left, right] = [dialer(), listener()];
  const proof = left.prove(right.reply(left.begin()));
  right.verify(proof);
  const again = listener();
  again.reply(left.begin());
  t.throws(() => again.verify(proof), { code: 'ERR_HVD_WIRE' });
});

t.test('a recorded reply fails against a fresh dialer', async (t) => {
  const reply = listenerReplyTo(dialer());
  t.throws(() => dialer().prove(reply), { code: 'ERR_HVD_WIRE' });
});

t.test("a dialer that sends the listener's own mac back is refused", async (t) => {
  const right = listener();
  const reply = right.reply(dialer().begin());
  t.throws(() => right.verify(reply.subarray(32)), { code: 'ERR_HVD_WIRE' });
});

t.test('a proof for one channel does not open another', async (t) => {
  const right = listener();
  const [control, data] = [dialer('control'), dialer('data')];
  right.reply(data.begin());
  const proof = control.prove(listenerReplyTo(control));
  t.throws(() => right.verify(proof), { code: 'ERR_HVD_WIRE' });
});

t.test('a proof of another length, or before the hello, is refused; a key of another length is a bug', async (t) => {
  const right = listener();
  t.throws(() => right.verify(new Uint8Array(32)), { code: 'ERR_HVD_BUG' });
  right.reply(dialer().begin());
  t.throws(() => right.verify(new Uint8Array(31)), { code: 'ERR_HVD_WIRE' });
  t.throws(() => listener({ key: new Uint8Array(16) }).reply(dialer().begin()), { code: 'ERR_HVD_BUG' });
});
