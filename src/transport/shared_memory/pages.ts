/**
 * Memory that two processes of one host share: anonymous files (memfd_create), mapped over ranges of the linear memory, so that WebAssembly kernels read what a neighbour wrote. Communication thread.
 *
 * A file has no name: a neighbour of the same user opens it as /proc/PID/fd/N, nothing is ever left in /dev/shm, and its size does not matter. Its size is sealed, so no access to it can end in SIGBUS.
 * Invariants: only whole pages of ranges that belong to the windows are mapped over; they are mapped readable and writable (V8 cannot grow a memory that is not); the mappings end with the memory.
 */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { HvdError } from '../../errors';
import { namespaceOf } from '../unix';

/** What of koffi is used. */
interface Koffi {
  /** Null: what this process has loaded, the C library with it. */
  load(file: null): { func(prototype: string): unknown };
  address(view: Uint8Array): bigint | number;
}
/** What of the C library is used, by koffi: Node itself cannot map memory. */
interface Calls {
  memfd_create(name: string, flags: number): number;
  ftruncate(fd: number, bytes: number): number;
  fcntl(fd: number, command: number, type: 'int', value: number): number;
  mmap(address: bigint, bytes: number, protection: number, flags: number, fd: number, offset: number): bigint | number;
  close(fd: number): number;
  sched_yield(): number;
}
const prototypes: Record<keyof Calls, string> = {
  memfd_create: 'int memfd_create(const char *name, unsigned int flags)',
  ftruncate: 'int ftruncate(int fd, int64_t bytes)',
  fcntl: 'int fcntl(int fd, int command, ...)',
  mmap: 'intptr_t mmap(intptr_t address, size_t bytes, int protection, int flags, int fd, int64_t offset)',
  close: 'int close(int fd)',
  sched_yield: 'int sched_yield()',
};

// linux/memfd.h, linux/fcntl.h, asm-generic/mman.h: the same on x86-64 and arm64.
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
const SEAL_SEAL_SHRINK_GROW = 1 | 2 | 4;
const READ_WRITE = 3;
const MAP_SHARED_FIXED = 0x01 | 0x10;

/** Of Linux on all processors that Node runs on; 64 KiB pages divide it too. */
export const PAGE_BYTES = 65536;

/** Where processes see each other's open files: the same kernel, the same numbering of processes. Empty: nowhere. */
export const neighbourhood = (): string => namespaceOf('pid');

/** @returns why ranks of this host cannot share memory, as far as can be seen before it is tried; undefined: they can */
export function whyNoSharedMemory(): string | undefined {
  if (process.platform !== 'linux') return 'it needs Linux';
  if (neighbourhood() === '') return '/proc is not there';
  try {
    require.resolve('koffi');
    return undefined;
  } catch {
    return "package 'koffi' is not installed (npm install koffi)";
  }
}

/** A process of this host that can still do something: neither gone nor only waiting to be reaped. */
export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

export class SharedPages {
  private constructor(
    private readonly calls: Calls,
    private readonly base: bigint,
  ) {}

  /** @throws HvdError koffi does not load, or does not find what it needs */
  static of(memory: WebAssembly.Memory): SharedPages {
    try {
      const library = require('koffi') as Koffi;
      const own = library.load(null);
      const calls = Object.fromEntries(Object.entries(prototypes).map(([name, prototype]) => [name, own.func(prototype)]));
      return new SharedPages(calls as unknown as Calls, BigInt(library.address(new Uint8Array(memory.buffer))));
    } catch (error) {
      throw new HvdError(`koffi does not work here: ${(error as Error).message}`, { cause: error });
    }
  }

  /** Lets another process have this core, if one wants it. */
  yieldCore(): void {
    this.calls.sched_yield();
  }

  /** A new file of zeros, mapped at that byte of the memory. @returns its descriptor. @throws HvdError the system refuses */
  create(byteOffset: number, bytes: number): number {
    const fd = this.calls.memfd_create('khorovod', MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) throw new HvdError('the system makes no anonymous file (memfd_create)');
    try {
      if (this.calls.ftruncate(fd, bytes) !== 0 || this.calls.fcntl(fd, F_ADD_SEALS, 'int', SEAL_SEAL_SHRINK_GROW) !== 0)
        throw new HvdError(`the system makes no anonymous file of ${bytes} bytes`);
      this.map(fd, byteOffset, bytes);
      return fd;
    } catch (error) {
      this.close(fd);
      throw error;
    }
  }

  /** A file of `create`: Node counts the files of a thread, and warns of one that it has not opened. What is mapped stays. */
  close(fd: number): void {
    this.calls.close(fd);
  }

  /** Maps what another process has created. @throws Error it is gone, another user's, of another size, or the system refuses */
  open(pid: number, fd: number, byteOffset: number, bytes: number): void {
    const own = openSync(`/proc/${pid}/fd/${fd}`, 'r+');
    try {
      const { size } = fstatSync(own);
      if (size !== bytes) throw new HvdError(`the neighbour's memory has ${size} bytes instead of ${bytes}`);
      this.map(own, byteOffset, bytes);
    } finally {
      closeSync(own);
    }
  }

  private map(fd: number, byteOffset: number, bytes: number): void {
    const address = this.base + BigInt(byteOffset);
    const mapped = this.calls.mmap(address, bytes, READ_WRITE, MAP_SHARED_FIXED, fd, 0);
    if (BigInt(mapped) !== address) throw new HvdError(`the system maps no ${bytes} bytes (mmap)`);
  }
}
