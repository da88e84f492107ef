/** Who may go on to OpenSSL: hellos as OpenSSL sends them, and everything else. */

import net from 'node:net';
import tls from 'node:tls';
import fc from 'fast-check';
import t from 'tap';
import { judgeHello, MOST_HELLO_BYTES, type Verdict } from '../../../src/transport/client_hello';
import { connectTls } from '../../../src/transport/tls';

const judge = (bytes: Uint8Array): Verdict => judgeHello(bytes, 'khorovod', 'KHVD');

/** What this dialer sends first. */
async function firstBytes(connect: (port: number) => net.Socket): Promise<Buffer> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const came = new Promise<Buffer>((resolve) =>
    server.once('connection', (socket) => socket.once('data', (data) => resolve(data as Buffer))),
  );
  const socket = connect((server.address() as net.AddressInfo).port).on('error', () => {});
  const bytes = await came;
  socket.destroy();
  server.close();
  return bytes;
}

const at = (port: number) => ({ host: '127.0.0.1', port });
const identity = { jobId: 'job', key: Buffer.alloc(32, 3), generation: 1, rank: 1, tls: true };

t.test('client hello', async (t) => {
  const ours = await firstBytes((port) => connectTls(identity, at(port)));
  const other = await firstBytes((port) => tls.connect(at(port)));
  const psk = Buffer.alloc(32, 3);
  const named = (name: string) =>
    firstBytes((port) =>
      tls.connect({
        ...at(port),
        minVersion: 'TLSv1.3',
        ciphers: 'TLS_AES_128_GCM_SHA256:PSK',
        pskCallback: () => ({ psk, identity: name }),
      }),
    );
  const otherName = await named('khorovoe');
  t.equal(await named('khorovod').then(judge), 'ours');

  t.test('a dialer of this package goes on, another does not', async (t) => {
    t.equal(judge(ours), 'ours');
    t.equal(judge(other), 'foreign', 'no key is offered');
    t.equal(judge(otherName), 'foreign', 'a key of another name');
    t.equal(judge(await named('khorovod '.repeat(20))), 'foreign');
    t.equal(judge(Buffer.from('KHVD\x01')), 'plain');
    t.equal(judge(Buffer.from('KHVE')), 'foreign');
  });

  t.test('in pieces: it is not refused before it is whole, and not before that taken', async (t) => {
    for (let bytes = 0; bytes < ours.length; bytes += 1) if (judge(ours.subarray(0, bytes)) !== 'partial') t.fail(`after ${bytes} bytes`);
    for (let bytes = 0; bytes < 4; bytes += 1) t.equal(judge(Buffer.from('KHVD'.slice(0, bytes))), 'partial');
    t.equal(judge(Buffer.concat([ours, Buffer.alloc(1)])), 'foreign', 'a dialer waits for the answer');
    t.equal(judge(Buffer.concat([ours, ours])), 'foreign');
  });

  t.test('lengths: none is followed beyond the end', async (t) => {
    t.equal(judge(Buffer.from([22, 3, 1, 0xff, 0xff])), 'foreign', 'refused with the header');
    t.equal(judge(Buffer.from([22, 3, 1, 0, 0])), 'foreign');
    t.equal(judge(Buffer.from([22, 3, 1, 1, 0, 1, 0xff])), 'foreign', 'the hello in it is longer than the record');
    t.equal(judge(Buffer.from([22, 3, 1, (MOST_HELLO_BYTES - 5) >> 8, (MOST_HELLO_BYTES - 5) & 0xff, 1])), 'partial');
    t.equal(judge(Buffer.from([22, 3, 1, (MOST_HELLO_BYTES - 4) >> 8, (MOST_HELLO_BYTES - 4) & 0xff, 1])), 'foreign');
    const places = fc.tuple(fc.nat(ours.length - 2), fc.constantFrom(0, 1, 0x7fff, 0x8000, 0xffff));
    fc.assert(
      fc.property(places, ([place, length]) => {
        const bent = Buffer.from(ours);
        bent.writeUInt16BE(length, place);
        const verdict = judge(bent);
        // A length in the header may be that of a longer record; what is not looked at (random numbers, key shares, binders) is OpenSSL's.
        return verdict === 'foreign' || verdict === 'ours' || (verdict === 'partial' && place < 5);
      }),
      { numRuns: 2000 },
    );
  });

  t.test('garbage: never ours, always a verdict', async () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: MOST_HELLO_BYTES }), (bytes) => judge(bytes) !== 'ours'),
      { numRuns: 2000 },
    );
    // A right beginning, and garbage in a record of the right length.
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 60, maxLength: 1000 }), fc.nat(60), (garbage, kept) => {
        const bytes = Buffer.concat([ours.subarray(0, 11), garbage]);
        ours.copy(bytes, 0, 0, 11 + kept - (kept % 2));
        bytes.writeUInt16BE(bytes.length - 5, 3);
        bytes.writeUIntBE(bytes.length - 9, 6, 3);
        return judge(bytes) === 'foreign';
      }),
      { numRuns: 2000 },
    );
  });

  t.test('a verdict stands: more bytes do not change it', async () => {
    const streams = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .tuple(fc.nat(ours.length), fc.uint8Array({ minLength: 1, maxLength: 50 }))
        .map(([kept, rest]) => Buffer.concat([ours.subarray(0, kept), rest])),
    );
    fc.assert(
      fc.property(streams, fc.nat(250), (bytes, cut) => {
        const early = judge(bytes.subarray(0, cut));
        return early === 'partial' || early === 'ours' || judge(bytes) === early;
      }),
      { numRuns: 2000 },
    );
  });
});
