/**
 * Which of this host's addresses others are told. Pure but for `localInterfaces`; any thread, and the launcher.
 *
 * Reachability decides where it is known: the local address of a connection that leads to the others. These rules are for where it is not: the user's choice
 * (TSRUN_NETWORK_INTERFACE, names or CIDRs), else the first address that looks as if other hosts could reach it.
 */
import { BlockList, isIP, isIPv6 } from 'node:net';
import os from 'node:os';
import { UsageError } from '../errors';

export interface LocalInterface {
  readonly name: string;
  readonly address: string;
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
    const fits = word.includes('/') ? inNetwork(word) : ({ name, address }: LocalInterface): boolean => name === word || address === word;
    const found = interfaces.filter(fits).filter(({ address }) => !LINK_LOCAL.test(address) || word === address);
    const address = (found.find((one) => !isIPv6(one.address)) ?? found[0])?.address;
    if (address !== undefined) return address;
  }
  const here = interfaces.map(({ name, address }) => `${name} ${address}`).join(', ');
  throw new UsageError(
    `TSRUN_NETWORK_INTERFACE is '${wanted}', which fits no interface of this host (${here}). Name one of them, or a CIDR such as 10.0.0.0/8.`,
  );
}

/** @throws UsageError no CIDR */
function inNetwork(cidr: string): (one: LocalInterface) => boolean {
  const [network = '', length = ''] = cidr.split('/', 2);
  const family = isIP(network);
  if (family === 0 || !/^\d{1,3}$/.test(length) || Number(length) > (family === 6 ? 128 : 32))
    throw new UsageError(`TSRUN_NETWORK_INTERFACE: '${cidr}' is no network; write 10.0.0.0/8 or fd00::/8.`);
  const type = family === 6 ? 'ipv6' : 'ipv4';
  const list = new BlockList();
  list.addSubnet(network, Number(length), type);
  return ({ address }) => isIP(address) === family && list.check(address, type);
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
