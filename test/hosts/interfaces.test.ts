/** Which addresses a job listens on and where: hosts with bridges of containers, dead interfaces, names of their own, two networks; --network-interface and --port-range. */
import t, { type Test } from 'tap';
import type { BedHost } from '../helpers/bed_host';
import { TestBed, whyNoBed } from '../helpers/test_bed';
import { worker } from '../helpers/tsrun';

const adds = worker('adds_exactly.js');
const LOOPBACK = /^127\.|^0{31}1$/;

t.test('interfaces', { skip: whyNoBed ?? false, timeout: 0 }, async (t) => {
  const bed = await TestBed.up(3);
  t.teardown(() => bed.down());
  const [, h1, h2, h3] = bed.hosts as [BedHost, BedHost, BedHost, BedHost];
  bed.addNetwork('fast');
  for (const [i, host] of [h1, h2, h3].entries()) {
    // Before eth0 in the order of their names, so that whoever takes the first one takes these.
    host.addLonely('bridge', 'docker0', '172.17.0.1/16');
    host.addLonely('bridge', 'br-4f1c', '192.168.100.1/24');
    host.addLonely('cable', 'dead0', `10.99.${i}.1/16`);
    host.plug({ network: 'fast', name: ['ib0', 'enp3s0', 'fast7'][i]!, address: `10.78.0.${i + 1}` });
  }

  /** Starts a job on the first two hosts, looks at where it listens while it runs, and lets it end. */
  const listenersOf = async (t: Test, ...options: string[]) => {
    const job = bed.job(['-np', '4', '-H', bed.list(1, 2), ...options, adds, '@']);
    await job.files(/^ready-/, 4);
    const found = bed.hosts.map((host) => host.listeners());
    job.put('stop');
    t.equal(await job.status(), 0, job.err);
    t.equal(job.out.match(/all sums right/g)?.length, 4, 'the job is not disturbed');
    t.same(await bed.leftAfter(), []);
    t.same(await job.leftAfter(), []);
    return { here: found[0]!, there: [found[1]!, found[2]!] };
  };
  const between = (listeners: ReadonlyArray<{ address: string }>) =>
    [...new Set(listeners.map(({ address }) => address))].filter((address) => !LOOPBACK.test(address));

  t.test('what is alike on every host, or dead, is never listened on', async (t) => {
    const { here, there } = await listenersOf(t);
    t.same(between(here), [], 'the launcher opens no port between hosts');
    for (const [i, listeners] of there.entries()) {
      t.ok(listeners.length >= 2, 'both ranks listen');
      const [address, ...more] = between(listeners);
      t.match(
        address,
        new RegExp(`^10\\.7[78]\\.0\\.${i + 1 + (address?.startsWith('10.77') ? 1 : 0)}$`),
        'an address that the other host reaches',
      );
      t.same(more, [], 'and no other one');
    }
  });

  t.test('--network-interface by network and by names, which differ from host to host', async (t) => {
    for (const given of ['10.78.0.0/24', 'ib0,enp3s0']) {
      const { there } = await listenersOf(t, '--network-interface', given);
      t.same(there.map(between), [['10.78.0.1'], ['10.78.0.2']], given);
    }
    const { there } = await listenersOf(t, '--network-interface', 'eth0');
    t.same(there.map(between), [[h1.address], [h2.address]]);
  });

  t.test('--network-interface that a host does not have, or that leads nowhere, is said before a rank starts', async (t) => {
    for (const [given, said] of [
      ['ib0', new RegExp(`${h2.name}.*ib0|ib0.*${h2.name}`)],
      ['docker0', /docker0|172\.17\.0\.1/],
      ['dead0', /dead0|10\.99\./],
    ] as const) {
      const { status, out, err, left } = await bed.run([
        '-np',
        '2',
        '-H',
        bed.list(1, 2),
        '--network-interface',
        given,
        '--',
        'echo',
        'started',
      ]);
      t.equal(status, 3, given);
      t.equal(out, '', given);
      t.match(err, said, given);
      t.same(left, [], given);
    }
  });

  t.test('--port-range holds every port of the job', async (t) => {
    const { here, there } = await listenersOf(t, '--port-range', '31000-31007');
    for (const { address, port } of [...here, ...there.flat()]) t.ok(port >= 31000 && port <= 31007, `${address} ${port}`);
    t.ok(there.flat().length >= 4);
    const { status, err, left } = await bed.run(['-np', '4', '-H', bed.list(1, 2), '--port-range', '31000-31000', adds, '@', '4']);
    t.not(status, 0, 'one is too few for two ranks');
    t.match(err, /--port-range/);
    t.same(left, []);
  });
});

t.test(
  'hosts that reach each other by another network than the one that leads to them',
  { skip: whyNoBed ?? false, timeout: 0 },
  async (t) => {
    const bed = await TestBed.up(2, { isolated: [1, 2] });
    t.teardown(() => bed.down());
    bed.addNetwork('fast');
    for (const [i, host] of bed.hosts.slice(1).entries()) {
      host.addLonely('bridge', 'docker0', '172.17.0.1/16');
      host.plug({ network: 'fast', name: `eth${i + 1}`, address: `10.78.0.${i + 1}` });
    }
    const { status, out, err, left } = await bed.run(['-np', '2', '-H', bed.list(1, 2), adds, '@', '8']);
    t.equal(status, 0, err);
    t.equal(out.match(/all sums right/g)?.length, 2);
    t.same(left, []);
  },
);
