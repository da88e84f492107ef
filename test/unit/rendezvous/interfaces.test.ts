import t from 'tap';
import { UsageError } from '../../../src/errors';
import { chooseAddress, interfaceFilter, isLoopback, localInterfaces, serviceAddress } from '../../../src/rendezvous/interfaces';

const of = (...entries: string[]) =>
  entries.map((entry) => {
    const [name, address] = entry.split(' ') as [string, string];
    return { name, address, isLoopback: isLoopback(address) };
  });
const lo = ['lo 127.0.0.1', 'lo ::1'];

t.test('what others are told, where nobody has said: no loopback, no network that ends here', async (t) => {
  const table: Array<[string[], string | undefined]> = [
    [[...lo, 'eth0 10.0.0.5', 'eth0 fe80::1'], '10.0.0.5'],
    [[...lo, 'docker0 172.17.0.1', 'br-12ab 172.18.0.1', 'veth9 169.254.1.1', 'ens5 192.168.1.7'], '192.168.1.7'],
    [[...lo, 'virbr0 192.168.122.1', 'cni0 10.42.0.1', 'flannel.1 10.42.0.0', 'ib0 10.9.0.1'], '10.9.0.1'],
    [[...lo, 'eth0 fd00::5', 'eth0 fe80::5'], 'fd00::5'],
    [[...lo, 'eth0 fd00::5', 'eth1 10.0.0.5'], '10.0.0.5'],
    [[...lo, 'eth0 169.254.3.4'], undefined],
    [lo, undefined],
    [[], undefined],
  ];
  for (const [interfaces, expected] of table) t.equal(chooseAddress(of(...interfaces)), expected, interfaces.join(', '));
});

t.test("the user's choice: names, addresses, CIDRs, the first that fits", async (t) => {
  const here = of(...lo, 'docker0 172.17.0.1', 'eth0 10.0.0.5', 'eth0 fd00::5', 'ib0 192.168.9.1', 'eth0 fe80::5');
  const table: Array<[string, string]> = [
    ['ib0', '192.168.9.1'],
    ['eth0', '10.0.0.5'],
    ['bond0, ib0', '192.168.9.1'],
    ['docker0', '172.17.0.1'],
    ['10.0.0.0/8', '10.0.0.5'],
    ['192.168.0.0/16,10.0.0.0/8', '192.168.9.1'],
    ['172.16.0.0/12', '172.17.0.1'],
    ['fd00::/8', 'fd00::5'],
    ['192.168.9.1', '192.168.9.1'],
    ['lo', '127.0.0.1'],
    ['0.0.0.0/0', '127.0.0.1'],
  ];
  for (const [wanted, expected] of table) t.equal(chooseAddress(here, wanted), expected, wanted);
  const wrong: Array<[string, RegExp]> = [
    ['eth7', /fits no interface of this host \(lo 127.0.0.1.*ib0/],
    ['11.0.0.0/8', /fits no interface/],
    ['10.0.0.0/33', /'10.0.0.0\/33' is no network/],
    ['10.0.0/8', /is no network/],
    ['fd00::/x', /is no network/],
    ['', /fits no interface/],
  ];
  for (const [wanted, text] of wrong) {
    const error = t.throws(() => chooseAddress(here, wanted), UsageError) as unknown as Error;
    t.match(error.message, text, wanted);
  }
});

t.test('rank 0 serves where its name leads the others', async (t) => {
  const here = of(...lo, 'docker0 172.17.0.1', 'eth0 10.0.0.5', 'ib0 192.168.9.1');
  const table: Array<[string, string[], string | undefined, string | undefined]> = [
    ['its name is an address of it', ['192.168.9.1'], undefined, '192.168.9.1'],
    ['of several, the better one', ['172.17.0.1', '192.168.9.1'], undefined, '192.168.9.1'],
    ['even one that looks local, when it is the only one', ['172.17.0.1'], undefined, '172.17.0.1'],
    ['Debian: the own name is 127.0.1.1', ['127.0.1.1'], undefined, '10.0.0.5'],
    ['Debian, and the user has chosen', ['127.0.1.1'], 'ib0', '192.168.9.1'],
    ['the name is a balancer', ['203.0.113.9'], undefined, '10.0.0.5'],
    ['the name is not known here', [], undefined, '10.0.0.5'],
    ['the name beats the choice', ['10.0.0.5'], 'ib0', '10.0.0.5'],
  ];
  for (const [title, resolved, wanted, expected] of table) t.equal(serviceAddress(resolved, here, wanted), expected, title);
  t.equal(serviceAddress(['127.0.0.1'], of(...lo)), undefined, 'a host without a network');
});

t.test('this host has interfaces, loopback among them', async (t) => {
  const here = localInterfaces();
  t.ok(here.some((one) => one.isLoopback && isLoopback(one.address)));
  t.ok(here.every((one) => one.isLoopback === isLoopback(one.address) || /^fe80/.test(one.address)));
});
t.test('names and networks', async (t) => {
  const table: Array<[string, string, string, boolean]> = [
    ['eth0', 'eth0', '10.0.0.1', true],
    ['eth0', 'eth01', '10.0.0.1', false],
    ['10.0.0.0/8', 'any', '10.200.3.4', true],
    ['10.0.0.0/8', 'any', '11.0.0.1', false],
    ['10.0.0.7', 'any', '10.0.0.7', true],
    ['10.0.0.7', 'any', '10.0.0.8', false],
    ['ib0, 192.168.0.0/16', 'eth0', '192.168.9.9', true],
    ['fd00::/8', 'eth0', 'fd12::1', true],
    ['fd00::/8', 'eth0', '10.0.0.1', false],
    ['0.0.0.0/0', 'eth0', 'fd12::1', false],
  ];
  for (const [text, name, address, isMeant] of table)
    t.equal(interfaceFilter(text)({ name, address }), isMeant, `${text}: ${name} ${address}`);
  for (const text of ['eth0/8', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/x', 'fd00::/129'])
    t.throws(() => interfaceFilter(text), { code: 'ERR_HVD_USAGE' }, text);
});
