/** Ranks within this process, each with a memory of its own, linked through shared memory as ranks of one host are. */
import { HvdError } from '../../../../src/errors';
import { createMemory } from '../../../../src/memory/arena';
import { type Kernels, makeKernels } from '../../../../src/memory/kernels';
import { Listener } from '../../../../src/transport/listener';
import { BOARD_BYTES } from '../../../../src/transport/shared_memory/board';
import { LocalMemory } from '../../../../src/transport/shared_memory/local_memory';
import { layOutWindows } from '../../../../src/transport/shared_memory/windows';
import { TcpTransport } from '../../../../src/transport/tcp';
import { HOST, identityOf, peersOf } from '../ranks';

export const SCRATCH_BYTES = 1 << 20;
export const windows = layOutWindows(65536 + SCRATCH_BYTES, 4);
export const heapFrom = windows.heap.byteOffset + BOARD_BYTES;

export interface Rank {
  readonly transport: TcpTransport;
  readonly memory: WebAssembly.Memory;
  readonly kernels: Kernels;
}

export async function openNeighbours(
  size: number,
  { blind = [] }: { blind?: number[] } = {},
): Promise<{ ranks: Rank[]; lost: string[]; refused: string[]; end(): void }> {
  const listeners = await Promise.all(
    Array.from({ length: size }, (_, rank) => Listener.open({ identity: identityOf(rank), size, host: HOST })),
  );
  const [lost, refused]: string[][] = [[], []];
  const locals: LocalMemory[] = [];
  const ranks = listeners.map((listener, rank): Rank => {
    const memory = createMemory();
    memory.grow((windows.heap.byteOffset + windows.heap.bytes) / 65536);
    const kernels = makeKernels(memory);
    const local = LocalMemory.open(memory, kernels, windows, { ranks: 2, cores: 2 });
    // Sees nothing of others.
    if (blind.includes(rank))
      local.openRing = () => {
        throw new Error('blind');
      };
    locals.push(local);
    const transport = new TcpTransport({
      identity: identityOf(rank),
      size,
      peers: peersOf(listeners),
      listener,
      connectTimeoutMs: 10_000,
      onLinkLost: (peer, error) => void lost!.push(`${rank}: lost ${peer}: ${error.message}`),
      neighbours: {
        ranks: new Set(listeners.keys()),
        memory: local,
        onRefused: (peer, why) => void refused!.push(`${rank} to ${peer}: ${why}`),
      },
    });
    return { transport, memory, kernels };
  });
  const end = (): void => {
    for (const { transport } of ranks) transport.abort(new HvdError('the test is over'));
    for (const local of locals) local.close();
    for (const listener of listeners) listener.close();
  };
  return { ranks, lost: lost!, refused: refused!, end };
}
