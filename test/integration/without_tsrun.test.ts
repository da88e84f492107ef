/** Ranks that nobody but their environment introduces to each other: torch's variables, as torchrun, Kubeflow or a shell set them. */
import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { chooseAddress, localInterfaces } from '../../src/rendezvous/interfaces';
import { freePort } from '../helpers/free_port';
import { type Met, meets, metIn, type Started, start } from '../helpers/started';

const folder = t.testdir({});
const keyFile = path.join(folder, 'key');
writeFileSync(keyFile, 'a key that is long enough for everyone', { mode: 0o600 });
const outer = chooseAddress(localInterfaces());

/** The ranks of one job, each with what `envOf` adds. */
function ranks(
  size: number,
  envOf: (rank: number) => Record<string, string>,
  times = 1,
  of = Array.from({ length: size }, (_, rank) => rank),
) {
  return Promise.all(
    of.map((rank) =>
      start(process.execPath, [meets, String(times)], { RANK: String(rank), WORLD_SIZE: String(size), TMPDIR: folder, ...envOf(rank) }),
    ),
  );
}
const met = (ended: readonly Started[]): Met[] => metIn(ended.map(({ out }) => out).join(''));
const errors = (ended: readonly Started[]): string => ended.map(({ err }) => err).join('');

t.test('ranks of one host need no key, and leave nothing behind', async (t) => {
  const port = String(await freePort());
  const ended = await ranks(3, () => ({ MASTER_ADDR: 'localhost', MASTER_PORT: port }), 2);
  const lines = met(ended);
  t.same(
    lines.map(({ generation, rank, sum }) => [generation, rank, sum]),
    [1, 2].flatMap((generation) => [0, 1, 2].map((rank) => [generation, rank, 6])),
    errors(ended),
  );
  t.match(lines[2], { local: [2, 3], cross: [0, 1], homogeneous: true, host: os.hostname() });
  t.same(
    readdirSync(folder).filter((name) => name.startsWith('khorovod-')),
    [],
  );
});

t.test(
  'with a key file they meet at MASTER_ADDR, and a later generation meets there again',
  { skip: outer ? false : 'needs a network interface' },
  async (t) => {
    const port = String(await freePort());
    const ended = await ranks(3, () => ({ MASTER_ADDR: outer!, MASTER_PORT: port, TSRUN_KEY_FILE: keyFile }), 3);
    t.same(
      met(ended).map(({ sum }) => sum),
      Array(9).fill(6),
      errors(ended),
    );
  },
);

t.test('without a key every rank says so at once, with the command that makes one', async (t) => {
  const ended = await ranks(2, () => ({ MASTER_ADDR: 'head', MASTER_PORT: '1' }));
  for (const { status, err } of ended) {
    t.equal(status, 1);
    t.match(err, /RendezvousError: Rank [01] of 2 .* has no key: .*head -c 32 \/dev\/urandom > .*TSRUN_KEY_FILE=/);
  }
  const open = path.join(folder, 'open');
  writeFileSync(open, 'x'.repeat(40));
  chmodSync(open, 0o644);
  for (const { err } of await ranks(2, () => ({ MASTER_ADDR: 'head', MASTER_PORT: '1', TSRUN_KEY_FILE: open })))
    t.match(err, /mode 0644.*chmod 600 .*open/);
});

t.test('whoever is missing is named, to all who have come', { skip: outer ? false : 'needs a network interface' }, async (t) => {
  const port = String(await freePort());
  const env = { MASTER_ADDR: outer!, MASTER_PORT: port, TSRUN_KEY_FILE: keyFile };
  const ended = await ranks(4, (rank) => ({ ...env, TSRUN_START_TIMEOUT: rank === 0 ? '6' : '60' }), 1, [0, 1, 3]);
  for (const { status, err } of ended) {
    t.equal(status, 1);
    t.match(err, /RendezvousError: .*After \d+\.\d s rank 2 of 4 had not come to the rendezvous/);
  }
});

t.test('a rank 0 that never comes is an error that says where it was expected', async (t) => {
  const port = String(await freePort());
  const [ended] = await ranks(
    2,
    () => ({ MASTER_ADDR: '127.0.0.1', MASTER_PORT: port, TSRUN_KEY_FILE: keyFile, TSRUN_START_TIMEOUT: '1' }),
    1,
    [1],
  );
  t.match(ended!.err, /RendezvousError: Rank 1 has tried for \d.\d s to meet rank 0 at 127.0.0.1:\d+ .*ECONNREFUSED.*MASTER_ADDR/);
  const [other] = await ranks(2, () => ({ MASTER_ADDR: 'localhost', TSRUN_START_TIMEOUT: '1' }), 1, [1]);
  t.match(other!.err, /RendezvousError: After 1.0 s rank 0 had not left the job key in .*khorovod-/);
});

t.test(
  'with TSRUN_TLS on every rank, all of it is encrypted; a rank that has it not says so at once',
  { skip: outer ? false : 'needs a network interface' },
  async (t) => {
    const port = String(await freePort());
    const env = { MASTER_ADDR: outer!, MASTER_PORT: port, TSRUN_KEY_FILE: keyFile };
    const ended = await ranks(2, () => ({ ...env, TSRUN_TLS: '1' }));
    t.same(
      met(ended).map(({ sum }) => sum),
      [3, 3],
      errors(ended),
    );
    for (const [zero, one, message] of [
      ['1', '0', /RendezvousError: .*the other end has --tls, this one has not\. Start all ranks with --tls/],
      ['0', '1', /RendezvousError: .*this end has --tls, the other has not\. Start all ranks with --tls/],
    ] as const) {
      const mixed = await ranks(2, (rank) => ({ ...env, TSRUN_TLS: rank === 0 ? zero : one, TSRUN_START_TIMEOUT: '6' }));
      t.match(mixed[1]!.err, message);
    }
  },
);

t.test('another key keeps out', { skip: outer ? false : 'needs a network interface' }, async (t) => {
  const port = String(await freePort());
  const other = path.join(folder, 'other');
  writeFileSync(other, 'another key, which is as long as the first', { mode: 0o600 });
  const ended = await ranks(2, (rank) => ({
    MASTER_ADDR: outer!,
    MASTER_PORT: port,
    TSRUN_KEY_FILE: rank === 0 ? keyFile : other,
    TSRUN_START_TIMEOUT: '6',
  }));
  t.match(ended[1]!.err, /did not prove that it holds the key of this job.*The key file and TSRUN_TLS must be the same on every host/);
  t.match(ended[0]!.err, /rank 1 of 2 had not come/);
});

t.test('a port that is taken is said by rank 0', { skip: outer ? false : 'needs a network interface' }, async (t) => {
  const server = net.createServer().listen(0, outer);
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as net.AddressInfo;
  const [ended] = await ranks(2, () => ({ MASTER_ADDR: outer!, MASTER_PORT: String(port), TSRUN_KEY_FILE: keyFile }), 1, [0]);
  server.close();
  t.match(
    ended!.err,
    new RegExp(`RendezvousError: Rank 0 cannot serve the rendezvous at .*:${port}: another program has that port. Set MASTER_PORT`),
  );
});

t.test('a process that is told HOROVOD_SIZE=1 runs alone, and so does one that nobody has told anything', async (t) => {
  for (const env of [{ HOROVOD_SIZE: '1', RANK: '0', WORLD_SIZE: '2' }, {} as Record<string, string>]) {
    const ended = await start(process.execPath, [meets], env);
    t.match(metIn(ended.out), [{ rank: 0, size: 1, local: [0, 1], cross: [0, 1], sum: 1 }], ended.err);
  }
});
