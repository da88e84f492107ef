/** Which interfaces `--network-interface` (TSRUN_NETWORK_INTERFACE) means: names and CIDRs. Pure; any thread. */
import { BlockList, isIP, isIPv6 } from 'node:net';
import { UsageError } from '../errors';

export interface Interface {
  readonly name: string;
  readonly address: string;
}

/** @param text `eth0,10.0.0.0/8`; a CIDR means the interfaces with an address in it. @throws UsageError a network that is none */
export function interfaceFilter(text: string): (one: Interface) => boolean {
  const tests = text
    .split(',')
    .map((term) => term.trim())
    .filter((term) => term !== '')
    .map(testOf);
  return (one) => tests.some((test) => test(one));
}

function testOf(term: string): (one: Interface) => boolean {
  const [network = '', bits] = term.split('/');
  if (isIP(network) === 0) {
    if (bits !== undefined) throw new UsageError(`'${term}' is no network: write an interface's name, or a CIDR such as 10.0.0.0/8.`);
    return ({ name }) => name === term;
  }
  const width = isIPv6(network) ? 128 : 32;
  const prefix = bits === undefined ? width : Number(bits);
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > width || bits === '')
    throw new UsageError(`'${term}' is no network: behind the slash stands a number from 0 to ${width}.`);
  const list = new BlockList();
  const family = (address: string): 'ipv4' | 'ipv6' => (isIPv6(address) ? 'ipv6' : 'ipv4');
  list.addSubnet(network, prefix, family(network));
  return ({ address }) => isIP(address) !== 0 && list.check(address, family(address));
}
