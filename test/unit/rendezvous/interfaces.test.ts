import t from 'tap';
import { interfaceFilter } from '../../../src/rendezvous/interfaces';

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
