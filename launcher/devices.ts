/** What this host has: GPUs by NVIDIA's driver, processors, memory nodes and networks by the kernel. Agent process; Linux, elsewhere nothing is known. */
import { accessSync, constants, readdirSync, readFileSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { besideTheirNeighbours, type Devices, parseCpuList } from './pinning';

const list = (folder: string): string[] => {
  try {
    return readdirSync(folder).sort();
  } catch {
    return []; // there is no such device
  }
};
const read = (file: string): string => {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
};

/** The program that starts a command on chosen processors; whether it works here is for its caller to try. undefined: there is none */
export function findTaskset(searchPath: string): string | undefined {
  const isProgram = (file: string): boolean => {
    try {
      accessSync(file, constants.X_OK);
      return statSync(file).isFile();
    } catch {
      return false; // not in this folder
    }
  };
  return searchPath
    .split(':')
    .filter((folder) => path.isAbsolute(folder))
    .map((folder) => path.join(folder, 'taskset'))
    .find(isProgram);
}

/** @param visible CUDA_VISIBLE_DEVICES of whoever started the job: only those are given out */
export function findDevices(visible: string | undefined): Devices {
  const count = list('/proc/driver/nvidia/gpus').length;
  const gpus =
    visible === undefined ? Array.from({ length: count }, (_, i) => String(i)) : visible.split(',').filter((name) => name.trim() !== '');
  const allowed = parseCpuList(/^Cpus_allowed_list:\s*(\S+)/m.exec(read('/proc/self/status'))?.[1] ?? '');
  // The kernel's list of what is allowed may name processors that are switched off.
  const online = parseCpuList(read('/sys/devices/system/cpu/online'));
  const cpus = online.length === 0 ? allowed : allowed.filter((cpu) => online.includes(cpu));
  const numaNodes = list('/sys/devices/system/node')
    .filter((name) => /^node\d+$/.test(name))
    .map((name) => parseCpuList(read(`/sys/devices/system/node/${name}/cpulist`)).filter((cpu) => cpus.includes(cpu)))
    .filter((node) => node.length > 0);
  const topologyOf = (cpu: number): number[] =>
    ['physical_package_id', 'core_id'].map((what) => Number(read(`/sys/devices/system/cpu/cpu${cpu}/topology/${what}`)));
  return { gpus, cpus: besideTheirNeighbours(cpus, numaNodes, topologyOf), numaNodes };
}

export interface Interface {
  readonly name: string;
  readonly address: string;
  readonly cidr: string;
}

/** Addresses that other hosts may know this one by. */
export function findInterfaces(): Interface[] {
  return Object.entries(os.networkInterfaces()).flatMap(([name, addresses]) =>
    (addresses ?? [])
      // A link-local address of IPv6 means nothing without the interface it is of.
      .filter(({ internal, address }) => !internal && !/^fe80:/i.test(address))
      .map(({ address, cidr }) => ({ name, address, cidr: cidr ?? address })),
  );
}
