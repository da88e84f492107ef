/**
 * Which of this host's addresses others are told. Pure but for `localInterfaces`; any thread, and the launcher.
 *
 * Reachability decides where it is known: the local address of a connection that leads to the others. These rules are for where it is not: the user's choice
 * (TSRUN_NETWORK_INTERFACE, names or CIDRs), else the first address that looks as if other hosts could reach it.
 */
import { BlockList, isIP, isIPv6 } from 'node:net';
import os from 'node:os';
import { UsageError } from '../errors';

export interface Interface {
  readonly name: string;
  readonly address: string;
}
export interface LocalInterface extends Interface {
  readonly isLoopback: boolean;
}

/** Networks that end at this host: of containers, virtual machines, pods. */
const OF_THIS_HOST = /^(docker|br-|virbr|vboxnet|vmnet|veth|cni|cbr|flannel|cali|kube|lxc|lxd|podman|dummy|ifb)/;
const LINK_LOCAL = /^(169\.254\.|fe[89ab][0-9a-f]:)/i;

/** In the order the kernel lists them. */
export function localInterfaces(): LocalInterface[] {
  return Object.entries(os.networkInterfaces()).flatMap(([name, addresses]) =>
    (addresses ?? []).map(({ address, internal }) => ({ name, address, isLoopback: internal })),
  );
}

export function isLoopback(address: string): boolean {
  return /^(::ffff:)?127\./i.test(address) || address === '::1';
}

/**
 * The address that others are told.
 *
 * @param wanted names or CIDRs, comma separated, the first that fits wins; undefined: chosen by what it looks like
 * @returns undefined: nothing but loopback
 * @throws UsageError `wanted` is malformed, or fits nothing here
 */
export function chooseAddress(interfaces: readonly LocalInterface[], wanted?: string): string | undefined {
  if (wanted !== undefined) return wantedAddress(interfaces, wanted);
  const usable = interfaces.filter(({ name, address, isLoopback }) => !isLoopback && !OF_THIS_HOST.test(name) && !LINK_LOCAL.test(address));
  return (usable.find(({ address }) => !isIPv6(address)) ?? usable[0])?.address;
}

function wantedAddress(interfaces: readonly LocalInterface[], wanted: string): string {
  for (const word of wanted.split(',').map((part) => part.trim())) {
    const found = interfaces.filter(interfaceFilter(word)).filter(({ address }) => !LINK_LOCAL.test(address) || word === address);
    const address = (found.find((one) => !isIPv6(one.address)) ?? found[0])?.address;
    if (address !== undefined) return address;
  }
  const here = interfaces.map(({ name, address }) => `${name} ${address}`).join(', ');
  throw new UsageError(
    `TSRUN_NETWORK_INTERFACE is '${wanted}', which fits no interface of this host (${here}). Name one of them, or a CIDR such as 10.0.0.0/8.`,
  );
}

/**
 * Which interfaces a `--network-interface` means.
 *
 * @param text `eth0,10.0.0.0/8`; a CIDR means the interfaces with an address in it
 * @throws UsageError a network that is none
 */
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

/**
 * Where rank 0 serves the rendezvous, when its name resolves to `resolved` on its own host: the address that the name means to the others. A name may also mean loopback only
 * (Debian writes the own name as 127.0.1.1 into /etc/hosts) or an address that is none of this host's (a balancer, a NAT): then the one that others are told.
 *
 * Ranks on rank 0's host that see its name as loopback come to the same answer.
 */
export function serviceAddress(resolved: readonly string[], interfaces: readonly LocalInterface[], wanted?: string): string | undefined {
  const own = interfaces.filter(({ address }) => resolved.includes(address) && !isLoopback(address));
  return chooseAddress(own) ?? own[0]?.address ?? chooseAddress(interfaces, wanted);
}
