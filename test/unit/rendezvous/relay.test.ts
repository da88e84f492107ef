/** The store behind an agent's relay, and the trial of addresses: real sockets of loopback. */
import { Duplex } from 'node:stream';
import t from 'tap';
import { openProbe, probe } from '../../../src/rendezvous/probe';
import { StoreRelay } from '../../../src/rendezvous/relay';
import { StoreServer } from '../../../src/rendezvous/server';
import { connectStore } from '../../../src/rendezvous/store';

const key = Buffer.alloc(32, 5);
const jobId = 'job';

t.test('ranks set and get through the relay as they do at the server; a lost client waits for nothing any more', async (t) => {
  const reports: string[] = [];
  const server = new StoreServer((rank, json) => reports.push(`${rank} ${json}`));
  const streams = new Map<number, Duplex>();
  const relay: StoreRelay = await StoreRelay.open({
    jobId,
    key,
    size: 2,
    onBytes(link, data, end) {
      let stream = streams.get(link);
      if (!stream) {
        stream = new Duplex({
          read: () => {},
          write: (bytes: Buffer, _encoding, done) => {
            relay.give(link, bytes, false);
            done();
          },
        });
        streams.set(link, stream);
        server.serve(stream);
      }
      if (data.length > 0) stream.push(Buffer.from(data));
      if (end) stream.destroy();
    },
  });
  t.match(relay.place, /^127\.0\.0\.1:\d+$/);
  const port = Number(relay.place.split(':')[1]);
  const connect = (rank: number, secret = key) =>
    connectStore({ identity: { jobId, key: secret, generation: 1, rank }, host: '127.0.0.1', port, timeoutMs: 5000 });
  const [a, b] = await Promise.all([connect(0), connect(1)]);
  const waiting = b.get('k', 5000);
  await a.set('k', Buffer.alloc(300_000, 7));
  t.equal((await waiting).length, 300_000);
  a.report(0, '{}');
  await a.set('last', Buffer.from('x'));
  t.same(reports, ['0 {}']);
  await t.rejects(connect(1, Buffer.alloc(32, 6)), { code: 'ERR_HVD_RENDEZVOUS' });
  t.equal(streams.size, 2, 'nothing of a stranger is passed on');
  a.close();
  b.close();
  relay.close();
});

t.test('an address is reached when the host that was meant proves the key there', async (t) => {
  const of = (place: number) => ({ jobId, key, place });
  const one = await openProbe(of(1), '127.0.0.1');
  const two = await openProbe(of(2), '127.0.0.1');
  const away = await openProbe(of(1), '192.0.2.1');
  t.equal(away.port, 0, 'no address of this host');
  t.teardown(() => {
    one.close();
    two.close();
  });
  const targets = [
    { place: 1, address: '127.0.0.1', port: one.port },
    { place: 2, address: '127.0.0.1', port: one.port },
    { place: 2, address: '127.0.0.1', port: two.port },
    { place: 1, address: '127.0.0.1', port: 0 },
  ];
  t.same(await probe(of(0), targets), [true, false, true, false]);
  t.same(await probe({ ...of(0), key: Buffer.alloc(32, 6) }, targets.slice(0, 1)), [false]);
});
