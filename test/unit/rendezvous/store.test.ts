import t from 'tap';
import { HOSTS_KEY, join } from '../../../src/rendezvous/join';
import { MOST_FRAME_BYTES, MOST_KEY_CHARS, MOST_VALUE_BYTES, MOST_WAITING } from '../../../src/rendezvous/limits';
import { StoreServer } from '../../../src/rendezvous/server';
import { connectStore, KeyAbsentError, type Store } from '../../../src/rendezvous/store';
import { Listener } from '../../../src/transport/listener';
import { encodeFrame, FrameParser } from '../../../src/wire/frame';
import { khorovod } from '../../../src/wire/generated/messages';
import { LAUNCHER_RANK } from '../../../src/wire/handshake';
import { randomFrom } from '../collective/simulation';
import { closed, connectAsStranger, dialAs, dribble, HOST, identityOf, turn, until } from '../transport/ranks';

const { jobId, key } = identityOf(0);
interface Reported {
  rank: number;
  json: string;
}
async function openStore(): Promise<{
  server: StoreServer;
  reported: Reported[];
  connect: (rank: number, generation?: number) => Promise<Store>;
}> {
  const reported: Reported[] = [];
  const server = await StoreServer.start({ jobId, key, host: HOST, onReport: (rank, json) => void reported.push({ rank, json }) });
  const stores: Store[] = [];
  t.teardown(async () => {
    for (const store of stores) store.close();
    await server.close();
  });
  const connect = async (rank: number, generation = 1): Promise<Store> => {
    const store = await connectStore({ identity: identityOf(rank, { generation }), host: HOST, port: server.port, timeoutMs: 5000 });
    stores.push(store);
    return store;
  };
  return { server, reported, connect };
}
const text = (value: Uint8Array): string => Buffer.from(value).toString();
const value = (words: string): Uint8Array => Buffer.from(words);

t.test('what is set can be got, by every rank of every generation, also when it is asked for before', async (t) => {
  const { connect, server } = await openStore();
  const [one, other] = [await connect(0), await connect(70_000, 8)];
  const waiting = [other.get('a', 5000), other.get('a', 5000), one.get('a', 5000)];
  await one.set('a', value('first'));
  for (const got of waiting) t.equal(text(await got), 'first');
  await other.set('a', value('second'));
  t.equal(text(await one.get('a', 5000)), 'second');
  await one.set('empty', value(''));
  t.equal((await other.get('empty', 5000)).length, 0);
  server.put('launcher', value('says'));
  t.equal(text(await other.get('launcher', 5000)), 'says');
});

t.test('a get ends at its own deadline, naming key and place; the key may still come for others', async (t) => {
  const { connect, server } = await openStore();
  const store = await connect(0);
  const patient = store.get('late', 5000);
  const error = await store.get('late', 30).catch((failure: unknown) => failure);
  t.ok(error instanceof KeyAbsentError);
  t.match(error, { code: 'ERR_HVD_RENDEZVOUS', message: new RegExp(`'late' at the rendezvous at 127.0.0.1:${server.port} within 0.0 s`) });
  await store.set('late', value('now'));
  t.equal(text(await patient), 'now');
});

t.test('what does not fit is refused at the call, and the store goes on', async (t) => {
  const { connect, server } = await openStore();
  const store = await connect(0);
  await t.rejects(store.set('large', new Uint8Array(MOST_VALUE_BYTES + 1)), {
    code: 'ERR_HVD_RENDEZVOUS',
    message: /does not take 'large' of rank 0: a value has at most/,
  });
  await t.rejects(store.set('', value('x')), { code: 'ERR_HVD_RENDEZVOUS' });
  await t.rejects(store.get('k'.repeat(MOST_KEY_CHARS + 1), 100), { code: 'ERR_HVD_RENDEZVOUS' });
  t.throws(() => server.put('large', new Uint8Array(MOST_VALUE_BYTES + 1)), { code: 'ERR_HVD_RENDEZVOUS' });
  await store.set('largest', new Uint8Array(MOST_VALUE_BYTES).fill(3));
  t.equal((await store.get('largest', 5000)).length, MOST_VALUE_BYTES);
});

t.test(
  'the server itself refuses what a client should not have asked, with a sentence, and forgets the waiting calls of those who leave or give up',
  async (t) => {
    const { connect, server } = await openStore();
    const bare = await dialAs(0, LAUNCHER_RANK, server.port, 'store');
    const parser = new FrameParser(MOST_FRAME_BYTES);
    const replies: khorovod.StoreReply[] = [];
    bare.on('data', (chunk) => {
      for (const frame of parser.push(chunk as Buffer)) replies.push(khorovod.StoreReply.decode(Uint8Array.from(frame)));
    });
    bare.resume();
    const ask = (request: khorovod.IStoreRequest): void => void bare.write(encodeFrame(khorovod.StoreRequest.encode(request).finish()));
    ask({ id: 1, set: { key: 'large', value: new Uint8Array(MOST_VALUE_BYTES + 1) } });
    ask({ id: 2, set: { key: '', value: value('x') } });
    await until(() => replies.length === 2, 'two refusals');
    t.match(replies, [
      { id: 1, error: /at most/ },
      { id: 2, error: /1 to/ },
    ]);
    for (let i = 0; i < MOST_WAITING; i += 1) ask({ id: 10 + i, get: { key: `none/${i % 5}` } });
    ask({ id: 3, get: { key: 'one too many' } });
    await until(() => replies.length === 3, 'the refusal of one wait too many');
    t.match(replies[2], { id: 3, error: /wait already/ });
    ask({ id: 10, forget: {} });
    ask({ id: 4, get: { key: 'there is room again' } });
    const store = await connect(1);
    await store.set('there is room again', value('yes'));
    await until(() => replies.length === 4, 'the answer');
    t.match(replies[3], { id: 4, error: '' });
    bare.destroy();
    await closed(bare);
    const { waiters } = server as unknown as { waiters: Map<string, unknown> };
    await until(() => waiters.size === 0, 'nothing waits for a client that has left');
    await store.set('none/0', value('x'));
    t.equal(text(await store.get('none/0', 5000)), 'x');
  },
);

t.test('requests in any pieces are understood; bytes that are none close that connection and nothing else', async (t) => {
  const { connect, server, reported } = await openStore();
  const store = await connect(0);
  const bare = await dialAs(1, LAUNCHER_RANK, server.port, 'store');
  const bytes = Buffer.concat(
    ['x', 'y'].map((name) => encodeFrame(khorovod.StoreRequest.encode({ id: 1, set: { key: name, value: value(name) } }).finish())),
  );
  await dribble(bare, bytes, Array(bytes.length).fill(1));
  t.equal(text(await store.get('y', 5000)), 'y');
  bare.write(Buffer.alloc(100, 255));
  await closed(bare);
  const stranger = await connectAsStranger(server.port);
  stranger.write(encodeFrame(khorovod.StoreRequest.encode({ id: 1, set: { key: 'x', value: value('stranger') } }).finish()));
  stranger.write(Buffer.alloc(1 << 16));
  await closed(stranger);
  t.equal(text(await store.get('x', 5000)), 'x');
  t.same(reported, []);
});

t.test('reports arrive in order; one that is too long is left out, and one after close does nothing', async (t) => {
  const { connect, reported } = await openStore();
  const store = await connect(2);
  for (let i = 0; i < 5; i += 1) store.report(2, `{"i":${i}}`);
  store.report(2, 'x'.repeat(MOST_FRAME_BYTES));
  store.report(2, '{"last":1}');
  store.close();
  store.report(2, '{"after":1}');
  await until(() => reported.length >= 6, 'the reports');
  for (let i = 0; i < 10; i += 1) await turn();
  t.same(
    reported.map(({ rank, json }) => `${rank}${json}`),
    [...[0, 1, 2, 3, 4].map((i) => `2{"i":${i}}`), '2{"last":1}'],
  );
  await t.rejects(store.get('x', 1000), { code: 'ERR_HVD_RENDEZVOUS', message: /this rank has closed it/ });
});

t.test('when the launcher is lost, pending and later calls fail at once and name its address', async (t) => {
  const { connect, server } = await openStore();
  const store = await connect(3);
  const pending = Promise.allSettled([store.get('never', 60_000), store.get('neither', 60_000)]);
  await turn();
  await server.close();
  const lost = { code: 'ERR_HVD_RENDEZVOUS', message: new RegExp(`Rank 3 has lost the rendezvous at 127.0.0.1:${server.port}`) };
  for (const outcome of await pending) t.match(outcome, { status: 'rejected', reason: lost });
  await t.rejects(store.get('never', 60_000), lost);
  await t.rejects(store.set('a', value('b')), lost);
  store.report(3, '{}');
  store.close();
});

t.test('replies that are none lose the store', async (t) => {
  const listener = await Listener.open({ identity: identityOf(LAUNCHER_RANK), host: HOST });
  listener.onLink('store', (_from, socket) => {
    socket.on('error', () => {});
    socket.write(Buffer.alloc(64, 255));
    socket.resume();
  });
  const store = await connectStore({ identity: identityOf(0), host: HOST, port: listener.port, timeoutMs: 5000 });
  await t.rejects(store.get('x', 60_000), { code: 'ERR_HVD_RENDEZVOUS', message: /no reply|has lost/ });
  listener.close();
});

t.test('a server with another key, or none at all, is a RendezvousError that says where', async (t) => {
  const { server } = await openStore();
  const options = { host: HOST, port: server.port, timeoutMs: 5000 };
  await t.rejects(connectStore({ identity: identityOf(0, { key: Buffer.alloc(32, 1) }), ...options }), {
    code: 'ERR_HVD_RENDEZVOUS',
    message: new RegExp(`Connecting to the launcher at 127.0.0.1:${server.port} \\(store\\) failed.*did not prove`),
  });
  await server.close();
  await t.rejects(connectStore({ identity: identityOf(0), ...options, timeoutMs: 100 }), {
    code: 'ERR_HVD_RENDEZVOUS',
    message: /ECONNREFUSED/,
  });
});

// ───── join ─────

const recordOf = (rank: number): khorovod.IRankRecord => ({
  rank,
  host: `host${rank}`,
  address: HOST,
  port: 1000 + rank,
  pid: 1,
  version: '1',
});

t.test('ranks that all come get the records of all, in whatever order they come', async (t) => {
  const { connect } = await openStore();
  const random = randomFrom(11);
  const size = 12;
  const joined = await Promise.all(
    Array.from({ length: size }, async (_, rank) => {
      const store = await connect(rank);
      for (let i = 0; i < random() * 30; i += 1) await turn();
      return join({ store, generation: 1, record: recordOf(rank), size, timeoutMs: 5000 });
    }),
  );
  for (const records of joined) {
    t.same(
      records.map(({ rank, host, port }) => [rank, host, port]),
      Array.from({ length: size }, (_, rank) => [rank, `host${rank}`, 1000 + rank]),
    );
  }
});

t.test('generations do not see each other', async (t) => {
  const { connect, server } = await openStore();
  server.put(HOSTS_KEY, value('[]'));
  const store = await connect(0);
  await join({ store, generation: 1, record: recordOf(0), size: 1, timeoutMs: 5000 });
  await t.rejects(join({ store, generation: 2, record: recordOf(1), size: 2, timeoutMs: 40 }), { message: /rank 0 of 2/ });
});

t.test('who is missing is named, with the host if the launcher has told', async (t) => {
  const { connect, server } = await openStore();
  const store = await connect(1);
  const waitFor = (size: number) => join({ store, generation: 1, record: recordOf(1), size, timeoutMs: 40 });
  server.put(HOSTS_KEY, value('{"no": "list"}'));
  await t.rejects(waitFor(3), { code: 'ERR_HVD_RENDEZVOUS', message: /After 0.0 s rank 0, rank 2 of 3 had not come/ });
  server.put(HOSTS_KEY, value(JSON.stringify(['alpha', 'beta', 'gamma', null])));
  await t.rejects(waitFor(4), { message: /rank 0 \(host alpha\), rank 2 \(host gamma\), rank 3 of 4 had not come.*--start-timeout/ });
  await t.rejects(waitFor(30), { message: /rank 8 and 21 more of 30/ });
});

t.test('two processes with the same rank, and a record that is none, are told apart from a missing rank', async (t) => {
  const { connect, server } = await openStore();
  const store = await connect(0);
  const waiting = join({ store, generation: 1, record: recordOf(0), size: 2, timeoutMs: 5000 });
  const refused = t.rejects(waiting, { code: 'ERR_HVD_RENDEZVOUS', message: /What rank 1 left/ });
  const twin = await connect(0);
  await twin.set('gen/1/rank/1', khorovod.RankRecord.encode({ ...recordOf(0) }).finish());
  await refused;
  const second: Store = {
    ...store,
    set: async (name, bytes) => {
      await store.set(name, bytes);
      await twin.set(name, khorovod.RankRecord.encode({ ...recordOf(0), pid: 99, host: 'elsewhere' }).finish());
    },
  };
  await t.rejects(join({ store: second, generation: 2, record: recordOf(0), size: 1, timeoutMs: 5000 }), {
    code: 'ERR_HVD_RENDEZVOUS',
    message: /Two processes take themselves for rank 0: this one \(process 1 on host host0\) and process 99 on host elsewhere/,
  });
  const lost = join({ store, generation: 3, record: recordOf(0), size: 2, timeoutMs: 60_000 });
  const outcome = lost.catch((error: unknown) => error);
  await turn();
  await server.close();
  t.match(await outcome, { code: 'ERR_HVD_RENDEZVOUS', message: /has lost the rendezvous/ });
});
