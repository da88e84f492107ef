/** Which GPU a rank takes through WebGPU, and how Dawn's events run while the main thread blocks. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { prepareBackend } from '../../../src/tensorflow/backends/prepare';
import {
  chooseAdapter,
  isChosenByUser,
  isSoftware,
  namesIn,
  pciGpus,
  vulkanProblem,
} from '../../../src/tensorflow/backends/webgpu/adapter';
import { EventPump } from '../../../src/tensorflow/backends/webgpu/pump';
import { blockOnReads, type WebgpuBackend } from '../../../src/tensorflow/backends/webgpu/read';

const A100 = 'NVIDIA A100-SXM4-80GB';
const L4 = 'NVIDIA L4';
const ARC = 'Intel(R) Arc(tm) A770 Graphics (DG2)';
const LLVMPIPE = 'llvmpipe (LLVM 15.0.6, 256 bits)';
const share = (localRank: number, localSize: number) => ({ localRank, localSize });
const gpu = (address: string, device = '0x20b2', vendor = '0x10de') => ({ address, vendor, device });

t.test("Dawn's answer to a name that there is not lists the adapters", async (t) => {
  const answer = `no adapter with backend 'vulkan' and name 'x' found\nAvailable adapters:\n * backend: 'vulkan', name: '${A100}'\n * backend: 'vulkan', name: 'it's ${LLVMPIPE}'`;
  t.same(namesIn(answer), [A100, `it's ${LLVMPIPE}`]);
  t.same(namesIn('no suitable backends found'), []);
  t.same([A100, ARC, LLVMPIPE, 'SwiftShader Device (LLVM 10.0.0)', 'Microsoft Basic Render Driver'].map(isSoftware), [
    false,
    false,
    true,
    true,
    true,
  ]);
});

t.test('each rank of a host takes its own GPU', async (t) => {
  t.same(chooseAdapter([A100, ARC, LLVMPIPE], [], share(0, 2), false), { flags: [`adapter=${A100}`] });
  t.same(chooseAdapter([LLVMPIPE, A100, ARC], [], share(1, 2), false), { flags: [`adapter=${ARC}`] });
  t.same(chooseAdapter([LLVMPIPE], [], share(3, 4), false), { flags: [] }, 'a software adapter is for all');
  t.throws(() => chooseAdapter([A100, LLVMPIPE], [], share(0, 2), false), {
    code: 'ERR_HVD_BACKEND',
    message: /2 ranks of this host would share one GPU.*--oversubscribe/,
  });
  t.throws(() => chooseAdapter([A100, ARC], [], share(1, 3), false), { message: /3 ranks of this host would share 2 GPUs/ });
  t.same(chooseAdapter([A100, ARC], [], share(2, 3), true), { flags: [`adapter=${A100}`] }, 'allowed: in turn');
});

t.test('GPUs of one name are told apart by their PCI addresses', async (t) => {
  const pci = [gpu('0000:41:00.0'), gpu('0000:01:00.0'), gpu('0000:03:00.0', '0x1533', '0x1a03')];
  const only = (address: string) => ({
    flags: [`adapter=${A100}`],
    only: { name: A100, environment: { DRI_PRIME: `pci-${address}!` } },
  });
  t.same(chooseAdapter([A100, A100, LLVMPIPE], pci, share(0, 2), false), only('0000_01_00_0'));
  t.same(chooseAdapter([A100, A100, LLVMPIPE], pci, share(1, 2), false), only('0000_41_00_0'));
  const mixed = [...pci, gpu('0000:05:00.0', '0x27b8')];
  t.same(chooseAdapter([L4, A100, A100], mixed, share(2, 3), false), only('0000_41_00_0'), 'another kind beside them');
  t.same(chooseAdapter([L4, A100, A100], mixed, share(0, 3), false), { flags: [`adapter=${L4}`] });
  for (const [why, gpus] of [
    ['not seen', []],
    ['one of them hidden from Vulkan', [...pci, gpu('0000:81:00.0')]],
    ['two kinds of which either may be meant', [...mixed, gpu('0000:06:00.0', '0x27b8')]],
  ] as const)
    t.throws(
      () => chooseAdapter([A100, A100], gpus, share(0, 2), false),
      { code: 'ERR_HVD_BACKEND', message: /2 GPUs named 'NVIDIA A100.*cannot tell apart/ },
      why,
    );
});

t.test('a name that is part of one before it cannot be asked for', async (t) => {
  t.throws(() => chooseAdapter(['NVIDIA L40S', 'NVIDIA L4'], [], share(1, 2), false), {
    message: /'NVIDIA L4', and that is 'NVIDIA L40S'/,
  });
  t.same(chooseAdapter(['NVIDIA L4', 'NVIDIA L40S'], [], share(0, 2), false), { flags: ['adapter=NVIDIA L4'] });
});

t.test("the user's own choice for a rank is known", async (t) => {
  t.ok(isChosenByUser({ DRI_PRIME: 'pci-0000_01_00_0!' }));
  t.ok(isChosenByUser({ MESA_VK_DEVICE_SELECT: '10de:20b2!' }));
  t.notOk(isChosenByUser({ DRI_PRIME: '1' }), 'an order, not a choice');
  t.notOk(isChosenByUser({}));
});

t.test('what is missing is said', async (t) => {
  const there = (...files: string[]) => vulkanProblem('linux', (file) => files.some((known) => file.startsWith(known)));
  t.match(there(), /no Vulkan loader.*apt-get install libvulkan1/);
  t.match(there('/usr/lib64/libvulkan'), /no Vulkan driver.*mesa-vulkan-drivers.*NVIDIA_DRIVER_CAPABILITIES/);
  t.match(there('/usr/lib64/libvulkan', '/etc/vulkan'), /no GPU that Dawn takes/);
  t.match(vulkanProblem('darwin'), /install the driver/);
});

t.test('GPUs are read from /sys', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-pci-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const device = (address: string, files: Record<string, string>): void => {
    mkdirSync(path.join(folder, address));
    for (const [file, text] of Object.entries(files)) writeFileSync(path.join(folder, address, file), `${text}\n`);
  };
  device('0000:01:00.0', { class: '0x030200', vendor: '0x10de', device: '0x20b2' });
  device('0000:02:00.0', { class: '0x020000', vendor: '0x8086', device: '0x1533' });
  t.same(pciGpus(folder), [gpu('0000:01:00.0')]);
  t.same(pciGpus(path.join(folder, 'none')), []);
});

/** Looks like a function that an addon has made: no name, a prototype, no text. */
const nativeFunction = (act: () => void): (() => void) => new Proxy(class {}, { apply: act }) as unknown as () => void;

t.test('the pump calls native functions once, and leaves all others alone', async (t) => {
  const host = { setImmediate };
  const pump = new EventPump(host);
  t.notOk(pump.runDue(), 'nothing yet');
  let ticks = 0;
  host.setImmediate(nativeFunction(() => (ticks += 1)));
  t.ok(pump.runDue());
  t.equal(ticks, 1);
  await new Promise((resolve) => host.setImmediate(resolve));
  t.equal(ticks, 1, 'not again by the event loop');
  host.setImmediate(nativeFunction(() => (ticks += 1)));
  await new Promise((resolve) => host.setImmediate(resolve));
  t.equal(ticks, 2, 'by the event loop alone');
  const order: number[] = [];
  host.setImmediate((n: number) => order.push(n), 1);
  host.setImmediate(order.push.bind(order, 2));
  host.setImmediate(() => order.push(3));
  t.notOk(pump.runDue(), "users' functions, bound ones too, are Node's");
  t.equal(await promisify(host.setImmediate)('value'), 'value');
  t.same(order, [1, 2, 3]);
});

/** A backend whose GPU answers after so many ticks. */
function makeBackend(resources: readonly Float32Array[], { ticks = 3, ends = 'mapped' } = {}) {
  const ids = resources.map(() => ({}));
  const log: string[] = [];
  let left = ticks;
  const buffer = (values: Float32Array) => ({ size: values.byteLength, values });
  const data = new Map<object, object>(
    ids.map((id, i) => [id, { values: null, dtype: 'float32', resource: buffer(resources[i]!) }] as const),
  );
  const backend = {
    tensorMap: data,
    bufferManager: {
      acquireBuffer: (size: number) => {
        const values = new Float32Array(size / 4);
        log.push(`acquire ${size}`);
        return {
          size,
          values,
          mapState: 'unmapped',
          mapAsync() {
            this.mapState = 'pending';
            left = ticks;
            log.push('map');
            return Promise.resolve();
          },
          getMappedRange: () => values.buffer,
          unmap: () => log.push('unmap'),
        };
      },
      releaseBuffer: (_buffer: object, reuse = true) => log.push(`release ${reuse}`),
    },
    commandEncoder: {
      copyBufferToBuffer: (from: { values: Float32Array }, _at: number, to: { values: Float32Array; mapState: string }, at: number) => {
        to.values.set(from.values, at / 4);
        staging = to;
      },
    },
    ensureCommandEncoderReady() {},
    endComputePassEncoder() {},
    submitQueue: () => log.push('submit'),
    readSync: () => 'as before',
  };
  let staging: { mapState: string } | undefined;
  const pump = {
    runDue: () => {
      left -= 1;
      if (left === 0) staging!.mapState = ends;
      return true;
    },
  };
  blockOnReads(backend as unknown as WebgpuBackend, pump);
  return { backend: backend as unknown as Required<WebgpuBackend>, ids, log, data };
}

t.test('tensors are read together, with one submission and one wait', async (t) => {
  const { backend, ids, log, data } = makeBackend([Float32Array.of(1, 2), Float32Array.of(3), Float32Array.of(4, 5, 6)]);
  const cpu = { values: Float32Array.of(9), dtype: 'float32' };
  const idOnCpu = {};
  data.set(idOnCpu, cpu);
  const targets = [2, 1, 3, 1].map((n) => new Float32Array(n));
  backend.readAllSync([...ids, idOnCpu].map((dataId) => ({ dataId })) as never, targets);
  t.same(
    targets,
    [[1, 2], [3], [4, 5, 6], [9]].map((values) => Float32Array.from(values)),
  );
  t.same(log, ['acquire 24', 'submit', 'map', 'unmap', 'release true']);
  t.equal((data.get(ids[0]!) as { values: unknown }).values, null, 'nothing is kept');
});

t.test('a tensor is read once, and one on the CPU as ever', async (t) => {
  const { backend, ids, log, data } = makeBackend([Float32Array.of(1, 2)]);
  t.same(backend.readSync(ids[0]!), Float32Array.of(1, 2));
  t.same((data.get(ids[0]!) as { values: unknown }).values, Float32Array.of(1, 2));
  t.equal(backend.readSync(ids[0]!), 'as before');
  t.equal(log.filter((entry) => entry === 'submit').length, 1);
});

t.test('what does not fit into one staging buffer is read in turn', async (t) => {
  const elems = 10 * 2 ** 20; // 40 MiB
  const { backend, ids, log } = makeBackend([new Float32Array(elems).fill(1), new Float32Array(elems).fill(2)]);
  const targets = [new Float32Array(elems), new Float32Array(elems)];
  backend.readAllSync(ids.map((dataId) => ({ dataId })) as never, targets);
  t.same(
    log.filter((entry) => entry.startsWith('acquire')),
    ['acquire 41943040', 'acquire 41943040'],
  );
  t.same(
    targets.map((values) => values[elems - 1]),
    [1, 2],
  );
});

t.test('a GPU that is lost ends the read', async (t) => {
  const { backend, ids, log } = makeBackend([Float32Array.of(1)], { ends: 'unmapped' });
  t.throws(() => backend.readSync(ids[0]!), { code: 'ERR_HVD_BACKEND', message: /device is lost.*memory is full/ });
  t.equal(log.at(-1), 'release false');
});

t.test('a webgpu backend that somebody else made cannot train', async (t) => {
  t.throws(() => prepareBackend({ getBackend: () => 'webgpu' } as never), {
    code: 'ERR_HVD_BACKEND',
    message: /set up by somebody else.*selectBackend\('webgpu'\)/,
  });
});
