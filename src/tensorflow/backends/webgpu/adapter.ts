/**
 * Which GPU this rank takes through WebGPU. Pure, but for `pciGpus` and `vulkanProblem`, which look at this machine. Main thread.
 *
 * Dawn chooses by name. GPUs of one name are told apart below it, by the device selection layer that comes with Mesa's Vulkan drivers and works on every vendor's: DRI_PRIME=pci-…! shows the
 * Vulkan loader only the GPU at that address. The caller looks afterwards whether it has: where the layer is missing, the variable does nothing.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { BackendError } from '../../../errors';
import type { Share } from '../backend';

export interface PciGpu {
  /** As Linux names it: 0000:01:00.0. */
  readonly address: string;
  /** 0x10de */
  readonly vendor: string;
  readonly device: string;
}

/** What Dawn and the Vulkan loader are told. */
export interface Choice {
  /** For `create`. */
  readonly flags: readonly string[];
  /** Set before `create`; then exactly one adapter of that name must be left. */
  readonly only?: { readonly name: string; readonly environment: Readonly<Record<string, string>> };
}

/** No adapter has it in its name: asked for it, Dawn answers with the names of all. */
export const NO_ADAPTER = 'list all adapters';

/** Names, in Dawn's order, in its answer to a name that there is not. */
export const namesIn = (answer: string): string[] =>
  [...answer.matchAll(/^ \* backend: '[^']*', name: '(.*)'$/gm)].map((match) => match[1]!);

const software = /llvmpipe|lavapipe|swiftshader|basic render driver/i;
export const isSoftware = (name: string): boolean => software.test(name);

const vendors: ReadonlyArray<readonly [RegExp, string]> = [
  [/nvidia/i, '0x10de'],
  [/\bamd\b|radeon/i, '0x1002'],
  [/intel/i, '0x8086'],
];

/**
 * @param names of all adapters
 * @param mayShare ranks may have one GPU between them (`tsrun --oversubscribe`)
 * @throws BackendError there is no GPU for this rank, or none that can be told from the others
 */
export function chooseAdapter(
  names: readonly string[],
  gpus: readonly PciGpu[],
  { localRank, localSize }: Pick<Share, 'localRank' | 'localSize'>,
  mayShare: boolean,
): Choice {
  const hardware = names.filter((name) => !isSoftware(name));
  // Ranks share processors, through a software adapter too.
  if (hardware.length === 0) return { flags: [] };
  if (localSize > hardware.length && !mayShare)
    throw new BackendError(
      `${localSize} ranks of this host would share ${hardware.length === 1 ? 'one GPU' : `${hardware.length} GPUs`}. Start one rank per GPU (-H host:GPUS), or allow it with --oversubscribe.`,
    );
  const own = localRank % hardware.length;
  const name = hardware[own]!;
  const same = hardware.flatMap((other, i) => (other === name ? [i] : []));
  if (same.length === 1) {
    const first = names.find((other) => other.includes(name));
    if (first !== name)
      throw new BackendError(
        `Dawn takes the first adapter whose name contains '${name}', and that is '${first}'. Start the ranks of one host on GPUs of one kind.`,
      );
    return { flags: [`adapter=${name}`] };
  }
  const addresses = addressesOf(name, same.length, gpus);
  if (!addresses)
    throw new BackendError(
      `this host has ${same.length} GPUs named '${name}', which Dawn cannot tell apart, and their PCI addresses are not found in /sys. ` +
        'Show each rank one GPU (NVIDIA_VISIBLE_DEVICES of a container per rank), or start one rank on this host.',
    );
  const environment = { DRI_PRIME: `pci-${addresses[same.indexOf(own)]!.replace(/[:.]/g, '_')}!` };
  return { flags: [`adapter=${name}`], only: { name, environment } };
}

/** Of the one kind of GPU of that vendor that there are so many of; undefined: there is none, or more than one. */
function addressesOf(name: string, count: number, gpus: readonly PciGpu[]): string[] | undefined {
  const vendor = vendors.find(([pattern]) => pattern.test(name))?.[1];
  const kinds = new Map<string, string[]>();
  for (const gpu of gpus) {
    if (gpu.vendor === vendor) kinds.set(gpu.device, [...(kinds.get(gpu.device) ?? []), gpu.address].sort());
  }
  const fitting = [...kinds.values()].filter((addresses) => addresses.length === count);
  return fitting.length === 1 ? fitting[0] : undefined;
}

/** Somebody has chosen for this rank: the loader shows one GPU only. */
export const isChosenByUser = ({ DRI_PRIME = '', MESA_VK_DEVICE_SELECT = '' }: Readonly<Record<string, string>>): boolean =>
  DRI_PRIME.endsWith('!') || MESA_VK_DEVICE_SELECT.endsWith('!');

/** Display and 3D controllers. Linux; elsewhere none. */
export function pciGpus(folder = '/sys/bus/pci/devices'): PciGpu[] {
  try {
    const read = (address: string, file: string): string => readFileSync(`${folder}/${address}/${file}`, 'utf8').trim();
    return readdirSync(folder)
      .filter((address) => read(address, 'class').startsWith('0x03'))
      .map((address) => ({ address, vendor: read(address, 'vendor'), device: read(address, 'device') }));
  } catch {
    return [];
  }
}

const libraries = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64', '/usr/lib'];
const manifests = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d'];

/** Why Vulkan shows no GPU here, and what mends it; called when it shows none. */
export function vulkanProblem(platform: string = process.platform, exists: (file: string) => boolean = existsSync): string {
  if (platform !== 'linux') return 'Dawn finds no GPU that it can use on this machine: install the driver of its maker';
  if (!libraries.some((folder) => exists(`${folder}/libvulkan.so.1`)))
    return 'there is no Vulkan loader (libvulkan.so.1) on this host. Debian and Ubuntu: apt-get install libvulkan1';
  if (!manifests.some(exists))
    return (
      'there is no Vulkan driver on this host (nothing in /usr/share/vulkan/icd.d or /etc/vulkan/icd.d). AMD and Intel: apt-get install mesa-vulkan-drivers; NVIDIA: it comes with the driver, ' +
      'and into a container with NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics'
    );
  return (
    'Vulkan shows no GPU that Dawn takes; its lines above say why. The driver is too old (Mesa 22.3.6 is, 25.0.7 is not), it is not in this container (NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics), ' +
    'or the GPU may not be opened by this user (/dev/dri)'
  );
}
