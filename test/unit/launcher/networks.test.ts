import t from 'tap';
import { askedBy, candidatesOf, chooseAddresses, type Trial } from '../../../launcher/networks';

const hosts = ['a', 'b', 'c'].map((host, i) => ({
  host,
  interfaces: [
    { name: 'docker0', address: '172.17.0.1' },
    { name: 'eth0', address: `10.0.0.${i + 1}` },
    { name: 'eth0', address: `fd00::${i + 1}` },
    { name: 'ib0', address: `192.168.5.${i + 1}` },
  ],
  reachedBy: `10.0.0.${i + 1}`,
}));

t.test('candidates: what tsrun reached it by comes first, IPv6 last; --network-interface leaves the others out', async (t) => {
  t.same(candidatesOf(hosts[0]!), ['10.0.0.1', '172.17.0.1', '192.168.5.1', 'fd00::1']);
  t.same(candidatesOf({ ...hosts[0]!, reachedBy: undefined }), ['172.17.0.1', '10.0.0.1', '192.168.5.1', 'fd00::1']);
  t.same(candidatesOf({ ...hosts[0]!, reachedBy: '203.0.113.9' })[0], '172.17.0.1', 'an address that is not its own (NAT) is none');
  t.same(candidatesOf(hosts[1]!, 'ib0'), ['192.168.5.2']);
  t.same(candidatesOf(hosts[1]!, '192.168.0.0/16,fd00::/8'), ['192.168.5.2', 'fd00::2']);
  t.throws(() => candidatesOf(hosts[1]!, 'ib7'), {
    exitCode: 3,
    message: /host b has no interface that --network-interface ib7 names; it has docker0 172/,
  });
  t.throws(() => candidatesOf({ host: 'x', interfaces: [] }), { message: /host x has no interface .* none beside loopback/ });
});

t.test('every host asks its neighbours at distances of powers of two, and the first', async (t) => {
  t.same(askedBy(0, 2), [1]);
  t.same(askedBy(1, 2), [0]);
  for (const hosts of [3, 4, 5]) {
    for (let place = 0; place < hosts; place += 1) {
      const others = Array.from({ length: hosts }, (_, i) => i).filter((i) => i !== place);
      t.same(askedBy(place, hosts), others, `${place} of ${hosts}: all`);
    }
  }
  t.same(askedBy(9, 64), [0, 1, 5, 7, 8, 10, 11, 13, 17, 25, 41, 57]);
});

t.test('the first candidate that all who tried have reached', async (t) => {
  const candidates = hosts.map((host) => candidatesOf(host));
  const trials = (isReached: (from: number, to: number, address: string) => boolean): Trial[] =>
    hosts.flatMap((_, from) =>
      askedBy(from, 3).flatMap((to) => candidates[to]!.map((address) => ({ from, to, address, isReached: isReached(from, to, address) }))),
    );
  const isDocker = (address: string): boolean => address.startsWith('172.');
  t.same(
    chooseAddresses(
      hosts,
      candidates,
      trials((_f, _t, address) => !isDocker(address)),
    ),
    ['10.0.0.1', '10.0.0.2', '10.0.0.3'],
  );
  t.same(
    chooseAddresses(
      hosts,
      candidates,
      trials((from, to, address) => !isDocker(address) && !(from === 2 && to === 1 && address.startsWith('10.'))),
    ),
    ['10.0.0.1', '192.168.5.2', '10.0.0.3'],
    'one asker that does not get there is enough',
  );
  t.throws(
    () =>
      chooseAddresses(
        hosts,
        candidates,
        trials((_from, to) => to !== 2),
      ),
    {
      exitCode: 3,
      message: /no address of host c is reached from all the other hosts: tried 10\.0\.0\.3 \(not from a, b\), .*firewall/,
    },
  );
});
