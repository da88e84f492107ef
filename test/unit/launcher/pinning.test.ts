import t from 'tap';
import { assign, parseHosts } from '../../../launcher/hosts';
import { besideTheirNeighbours, type Devices, type PinningOptions, parseCpuList, pinningOf } from '../../../launcher/pinning';

const plain: PinningOptions = { pinsGpus: true, oversubscribe: false };
const devices = (gpus: number, cpus: number, ...numaNodes: number[][]): Devices => ({
  gpus: Array.from({ length: gpus }, (_, i) => String(i)),
  cpus: Array.from({ length: cpus }, (_, i) => i),
  numaNodes,
});
const all = (np: number, has: Devices, options: Partial<PinningOptions>) =>
  assign(np, parseHosts('h1'), { oversubscribe: true }).map((assignment) => pinningOf(assignment, has, { ...plain, ...options }));
const gpusOf = (...args: Parameters<typeof all>) => all(...args).map(({ env }) => env.CUDA_VISIBLE_DEVICES);
const cpusOf = (...args: Parameters<typeof all>) => all(...args).map(({ cpus }) => cpus.join());

t.test('each rank sees its own GPUs, as many as were asked for', async (t) => {
  t.same(gpusOf(4, devices(4, 8), {}), ['0', '1', '2', '3']);
  t.same(gpusOf(2, devices(4, 8), { gpusPerProcess: 2 }), ['0,1', '2,3']);
  t.same(gpusOf(2, { ...devices(0, 8), gpus: ['GPU-a', 'GPU-b'] }, {}), ['GPU-a', 'GPU-b']);
  t.same(gpusOf(2, devices(0, 8), {}), [undefined, undefined], 'a host without GPUs is left alone');
  t.same(gpusOf(3, devices(2, 8), {}), ['0', '1', '0'], 'nobody asked: ranks share');
  t.same(gpusOf(2, devices(4, 8), { pinsGpus: false }), [undefined, undefined]);
});

t.test('too few GPUs is exit 4 where the option was given, unless oversubscribed', async (t) => {
  t.throws(() => all(3, devices(4, 8), { gpusPerProcess: 2 }), { exitCode: 4, message: /h1 has 4 GPUs, but 3 ranks with 2 each/ });
  t.throws(() => all(1, devices(0, 8), { gpusPerProcess: 1 }), { exitCode: 4, message: /h1 has 0 GPUs/ });
  t.same(gpusOf(3, devices(4, 8), { gpusPerProcess: 2, oversubscribe: true }), ['0,1', '2,3', '0,1']);
});

t.test('ranks that share a GPU without --oversubscribe are told so', async (t) => {
  const sharersOf = (ranks: number, gpus: number, options: Partial<PinningOptions>): Array<string | undefined> =>
    all(ranks, devices(gpus, 8), options).map(({ env }) => env.TSRUN_GPU_SHARERS);
  t.same(sharersOf(3, 2, {}), ['2', '2', '2']);
  t.same(sharersOf(2, 2, {}), [undefined, undefined]);
  t.same(sharersOf(3, 2, { oversubscribe: true }), [undefined, undefined, undefined]);
});

t.test('processors are shared evenly, or by memory node', async (t) => {
  t.same(cpusOf(2, devices(0, 8), { bindTo: 'core' }), ['0,1,2,3', '4,5,6,7']);
  t.same(cpusOf(3, devices(0, 8), { bindTo: 'core' }), ['0,1', '2,3,4', '5,6,7']);
  t.same(cpusOf(3, devices(0, 2), { bindTo: 'core' }), ['0', '1', '0']);
  t.same(cpusOf(3, devices(0, 4, [0, 1], [2, 3]), { bindTo: 'numa' }), ['0,1', '2,3', '0,1']);
  t.same(cpusOf(2, devices(0, 4), {}), ['0,1', '2,3'], 'nobody asked, and every rank gets one');
  t.same(cpusOf(3, devices(0, 2), {}), ['', '', ''], 'nobody asked, and there are too few');
  t.same(cpusOf(2, devices(0, 4), { bindTo: 'none' }), ['', '']);
  t.same(cpusOf(1, devices(0, 4), { bindTo: 'core' }), [''], 'all of them is no binding');
});

t.test('where nothing can be bound, asking for it is exit 4', async (t) => {
  t.same(cpusOf(2, devices(0, 0), {}), ['', '']);
  t.throws(() => all(1, devices(0, 0), { bindTo: 'core' }), { exitCode: 4, message: /host h1.*no taskset.*leave out --bind-to core/ });
  t.throws(() => all(1, devices(0, 0), { bindTo: 'numa' }), { exitCode: 4, message: /--bind-to numa/ });
  t.same(cpusOf(2, devices(0, 4), { bindTo: 'numa' }), ['', ''], 'a kernel that tells of no memory nodes has one: all');
});

t.test('nobody asked, and a GPU may hang on another memory node: nothing is bound', async (t) => {
  t.same(cpusOf(2, devices(2, 4, [0, 1], [2, 3]), {}), ['', '']);
  t.same(cpusOf(2, devices(2, 4, [0, 1], [2, 3]), { bindTo: 'core' }), ['0,1', '2,3']);
  t.same(cpusOf(2, devices(2, 4, [0, 1, 2, 3]), {}), ['0,1', '2,3']);
});

t.test('threads of one core stay together, and cores of one memory node', async (t) => {
  // Two nodes of two cores; the kernel numbers the first threads of all cores first.
  const cpus = [0, 1, 2, 3, 4, 5, 6, 7];
  const numaNodes = [
    [0, 2, 4, 6],
    [1, 3, 5, 7],
  ];
  const ordered = besideTheirNeighbours(cpus, numaNodes, (cpu) => [cpu % 2, Math.floor((cpu % 4) / 2)]);
  t.same(ordered, [0, 4, 2, 6, 1, 5, 3, 7]);
  t.same(cpusOf(2, { gpus: [], cpus: ordered, numaNodes }, {}), ['0,4,2,6', '1,5,3,7']);
  t.same(cpusOf(4, { gpus: [], cpus: ordered, numaNodes }, {}), ['0,4', '2,6', '1,5', '3,7']);
  t.same(
    besideTheirNeighbours([3, 1], [], () => [0, 0]),
    [1, 3],
    'where nothing is known, by number',
  );
});

t.test('lists of processors are read as the kernel writes them', async (t) => {
  t.same(parseCpuList('0-2,5,7-8\n'), [0, 1, 2, 5, 7, 8]);
  t.same(parseCpuList(''), []);
});
