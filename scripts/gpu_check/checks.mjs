// The checks, in the order in which they run. What needs no GPU is checked on every machine.
import path from 'node:path';
import { facts, root, run, runInProject, runRanks, trySelect, tsrun } from './machine.mjs';
import { must, Skipped } from './report.mjs';

const GPU = 'tfjs-node-gpu';
const INSTALL = 'npx tsrun install-tfjs-node --gpu';
const SUITE_MS = 300_000;
const MOST_GROWTH = 0.05;
const STEPS = 2000;
/** More than any GPU has. */
const MORE_GIB = 1024;

const driver = ({ problem }) => problem;
const twoGpus = ({ gpus }) => (gpus.length < 2 ? `one rank per GPU needs two GPUs, here is ${gpus.length}` : undefined);
const gpuByVulkan = ({ problem, vulkan }) => problem ?? (vulkan === undefined ? "NVIDIA's Vulkan driver is not installed" : undefined);
const noGpuByVulkan = ({ vulkan }) => (vulkan === undefined ? undefined : 'there is a GPU for it');

const tail = (text, lines = 3) => text.trim().split('\n').slice(-lines).join('\n');
const lineWith = (text, pattern) => text.split('\n').find((line) => pattern.test(line)) ?? '';
const whole = ({ status, out, err }) => must(status === 0, `exit ${status}: ${tail(out)} ${tail(err)}`);
/** The last line of a suite counts. */
function suiteResult({ status, out, err }) {
  must(status === 0, `exit ${status}: ${lineWith(out, /^FAILED/)} ${tail(out, 1)} ${tail(err, 1)}`);
  return tail(out, 1);
}

function trainedAlike({ status, ranks, out, err }, count) {
  must(status === 0 && ranks.length === count, `exit ${status}, ${ranks.length} of ${count} ranks: ${tail(out)} ${tail(err)}`);
  must(new Set(ranks.map(({ bits }) => bits)).size === 1, `the replicas differ: ${ranks.map(({ bits }) => bits.slice(0, 8)).join(', ')}`);
  const [from, to] = ranks[0].losses;
  must(to < from, `the loss went from ${from} to ${to}`);
  return ranks.reduce((sum, { imagesPerSec }) => sum + imagesPerSec, 0);
}
const isOnGpus = (ranks) => {
  for (const { device } of ranks) must(/^GPU \S+ \(TensorFlow [\d.]+, CUDA\)$/.test(device), `a rank runs on ${device}`);
};

function memory({ status, out, err }, ranks) {
  const reports = [...out.matchAll(/^\{.*\}$/gm)].map(([json]) => JSON.parse(json));
  must(status === 0 && reports.length === ranks, `exit ${status}: ${tail(err)}`);
  return reports
    .map(({ rank, early, late }) => {
      must(
        late.tensors === early.tensors && late.buffers === early.buffers,
        `rank ${rank}: ${early.tensors} tensors became ${late.tensors}`,
      );
      const grown = (what) => late[what] / early[what] - 1;
      const text = ['rssBytes', 'gpuMiB'].filter((what) => early[what] !== undefined);
      for (const what of text) must(grown(what) <= MOST_GROWTH, `rank ${rank}: ${what} grew from ${early[what]} to ${late[what]}`);
      return `rank ${rank}: ${late.tensors} tensors, ${text.map((what) => `${what} ${early[what]} → ${late[what]} (${(100 * grown(what)).toFixed(1)} %)`).join(', ')}`;
    })
    .join('; ');
}

/** @param hands over by this backend of this project */
function handOver(project, backend) {
  const ended = runInProject(project, 'scripts/measure_hand_over.mjs', ['--backend', backend]);
  whole(ended);
  const rows = [...ended.out.matchAll(/^\| \S+ \| (in|out) \| ([\d.]+) \| [\d.]+ \| ([\d.]+) \|/gm)];
  const speeds = rows.slice(0, 2).map(([, way, copies, speed]) => `${way} ${speed} GB/s with ${copies} copies`);
  return `64 MiB ${speeds.join(', ')}; ${lineWith(ended.out, /^a step/)}`;
}

export const checks = [
  { name: 'facts', act: facts },
  {
    name: `install: ${INSTALL}`,
    needs: [driver],
    act: (machine) => {
      const { said, folder } = machine.project(GPU);
      const { out } = run(['du', '-sm', path.join(folder, 'node_modules/@tensorflow', GPU, 'deps')]);
      return `${out.split('\t')[0]} MiB in deps: ${machine.prepared ? `it was there (${folder})` : tail(said, 1)}`;
    },
  },
  {
    name: 'tsrun --check-build',
    act: (machine) => {
      const ended = tsrun(['--check-build'], { cwd: (machine.problem ? machine.standIn() : machine.project(GPU)).folder });
      whole(ended);
      const line = lineWith(ended.out, /\] tfjs-node-gpu:/).trim();
      must(machine.problem ? /^\[ \] .*no NVIDIA driver/.test(line) : /^\[X\] .*: GPU .*CUDA/.test(line), line || ended.out);
      return line;
    },
  },
  {
    name: 'tsrun doctor',
    act: (machine) => {
      const ended = tsrun(['doctor'], { cwd: (machine.problem ? machine.standIn() : machine.project(GPU)).folder });
      whole(ended);
      must(lineWith(ended.out, /devices/).includes(`${machine.gpus.length} GPUs`), ended.out);
      const backends = lineWith(ended.out, /ok +backends/);
      must(/tfjs-node-gpu on GPU/.test(backends) === (machine.problem === undefined), ended.out);
      return `${lineWith(ended.out, /devices/)}; ${backends}`;
    },
  },
  {
    name: 'one rank trains on its GPU',
    needs: [driver],
    act: (machine) => {
      const ended = runRanks(machine.project(GPU), ['-np', '1'], ['train', GPU]);
      const speed = trainedAlike(ended, 1);
      isOnGpus(ended.ranks);
      const [{ device, visible, msPerStep }] = ended.ranks;
      return `${machine.gpus[0]}; ${device}, CUDA_VISIBLE_DEVICES=${visible}: ${msPerStep.toFixed(2)} ms a step of 256 images, ${speed.toFixed(0)} images/s`;
    },
  },
  {
    name: 'weights and time of a step beside wasm',
    needs: [driver],
    act: (machine) => {
      const backends = ['--backends', `wasm,${GPU}`, '--rounds', '3'];
      const ended = runInProject(machine.project(GPU), 'scripts/measure_backends.mjs', backends, { timeoutMs: SUITE_MS });
      whole(ended);
      return [/weights after .* of wasm/, /^\| wasm/, /^\| tfjs/]
        .map((pattern) => lineWith(ended.out.replace(/^wasm: w.*\n/m, ''), pattern))
        .join('\n');
    },
  },
  {
    name: 'one rank per GPU',
    needs: [driver, twoGpus],
    act: (machine) => {
      const { gpus } = machine;
      const [one, all] = [1, gpus.length].map((np) => runRanks(machine.project(GPU), ['-np', String(np)], ['train', GPU]));
      const [alone, together] = [trainedAlike(one, 1), trainedAlike(all, gpus.length)];
      isOnGpus(all.ranks);
      const visible = all.ranks.map((rank) => rank.visible);
      must(new Set(visible).size === gpus.length, `CUDA_VISIBLE_DEVICES are ${visible.join(', ')}`);
      return `CUDA_VISIBLE_DEVICES ${visible.join(', ')}; ${together.toFixed(0)} images/s, ${(together / alone).toFixed(2)} times those of one rank (${alone.toFixed(0)}); replicas alike to the bit`;
    },
  },
  {
    name: 'more ranks than GPUs',
    needs: [driver],
    act: (machine) => {
      const more = String(machine.gpus.length + 1);
      const launch = ['-np', more, '-H', `localhost:${more}`];
      const refused = runRanks(machine.project(GPU), launch, ['train', GPU]);
      const { code, message = '' } = refused.ranks[0] ?? {};
      must(
        code === 'ERR_HVD_BACKEND' && /2 ranks of this host would share one GPU.*--oversubscribe/.test(message),
        refused.out + tail(refused.err),
      );
      const free = runRanks(machine.project(GPU), launch, ['select']);
      const line = lineWith(free.err + free.out, /WARNING.*not tfjs-node-gpu: .*would share one GPU/);
      must(line !== '' && free.status === 0 && free.ranks.every(({ name }) => name !== GPU), `no line says why: ${tail(free.err)}`);
      const shared = runRanks(machine.project(GPU), [...launch, '--oversubscribe'], ['train', GPU]);
      const speed = trainedAlike(shared, Number(more));
      isOnGpus(shared.ranks);
      return `forced: ${message}; by itself: ${line}; --oversubscribe: ${speed.toFixed(0)} images/s`;
    },
  },
  {
    name: 'CUDA_VISIBLE_DEVICES hides every GPU',
    needs: [driver],
    act: (machine) => {
      for (const hidden of ['', '-1']) {
        const { out } = trySelect(machine.project(GPU), GPU, { CUDA_VISIBLE_DEVICES: hidden });
        must(/^ERR_HVD_BACKEND .*CUDA_VISIBLE_DEVICES hides every GPU/.test(out), `'${hidden}': ${out}`);
      }
      const free = trySelect(machine.project(GPU), '', { CUDA_VISIBLE_DEVICES: '' });
      must(/^wasm /.test(free.out) && /WARNING.*hides every GPU/.test(free.err), free.out + free.err);
      return 'BackendError for empty and -1; by itself wasm, with a warning';
    },
  },
  {
    name: 'no driver',
    act: (machine) => {
      const project = machine.problem ? machine.standIn() : machine.project(GPU);
      const forced = machine.problem ? trySelect(project, GPU) : withoutDriver(project);
      must(/^ERR_HVD_BACKEND .*there is no NVIDIA driver on this host/.test(forced.out.trim()), forced.out + forced.err);
      return forced.out;
    },
  },
  {
    name: 'out of GPU memory',
    needs: [driver],
    act: (machine) => {
      const ended = runRanks(machine.project(GPU), ['-np', '1'], ['fill', GPU, String(MORE_GIB)]);
      const { code, message = '' } = ended.ranks[0] ?? {};
      must(code === 'ERR_HVD_BACKEND' && /no memory left.*smaller batch/.test(message), `${ended.out} ${tail(ended.err)}`);
      must(ended.status === 1, `the job ended with ${ended.status}`);
      const after = runRanks(machine.project(GPU), ['-np', '1'], ['train', GPU]);
      trainedAlike(after, 1);
      return `${message} Exit code 1; the next job trains`;
    },
  },
  {
    name: 'hand-over on tfjs-node-gpu',
    needs: [driver],
    act: (machine) => handOver(machine.project(GPU), GPU),
  },
  {
    name: `${STEPS} steps on the GPU`,
    needs: [driver],
    act: (machine) => {
      const program = machine.project(GPU).program('workers/counts_memory');
      const words = ['-np', '1', '--no-prefix', '--', process.execPath, '--expose-gc', program, 'study', String(STEPS / 10), String(STEPS)];
      return memory(tsrun(words, { env: { TSRUN_BACKEND: GPU } }), 1);
    },
  },
  {
    name: 'the parallel tests on tfjs-node-gpu',
    needs: [driver],
    act: (machine) => {
      process.env.BACKEND_PROJECT ??= machine.project(GPU).folder;
      return suiteResult(run([process.execPath, path.join(root, 'scripts/on_backends.mjs'), GPU], { timeoutMs: SUITE_MS }));
    },
  },
  {
    name: 'webgpu on the GPU',
    needs: [gpuByVulkan],
    act: ({ vulkan }) => webgpuSuite({ VK_DRIVER_FILES: vulkan }),
  },
  { name: 'webgpu on a software adapter', needs: [noGpuByVulkan], act: () => webgpuSuite({}) },
  {
    name: 'hand-over on webgpu',
    needs: [gpuByVulkan],
    act: (machine) => handOver({ ...machine.project('webgpu'), env: { VK_DRIVER_FILES: machine.vulkan } }, 'webgpu'),
  },
  { name: 'hand-over on wasm', act: (machine) => handOver(machine.problem ? machine.standIn() : machine.project(GPU), 'wasm') },
];

function webgpuSuite(env) {
  const words = [path.join(root, 'scripts/run_tests.mjs'), 'backends', '--only', 'webgpu'];
  const ended = run([process.execPath, ...words], { env, timeoutMs: SUITE_MS });
  const text = suiteResult(ended);
  if (/^0 passed/.test(text)) throw new Skipped(lineWith(ended.out, /skipped:/).trim());
  return text;
}

/** In a mount namespace whose /proc/driver/nvidia is empty and whose /dev has nothing of NVIDIA's. */
function withoutDriver({ folder, env }) {
  const hide =
    'mount -t tmpfs none /proc/driver/nvidia && d=$(mktemp -d) && mount --rbind /dev $d && mount -t tmpfs none /dev && for n in null zero random urandom; do touch /dev/$n && mount --bind $d/$n /dev/$n; done';
  const select = `require(${JSON.stringify(path.join(root, 'dist/src/index.js'))}).selectBackend('${GPU}').then(({ device }) => console.log(device), (error) => console.log(error.code, error.message))`;
  const allowed = run(['unshare', '-m', 'sh', '-c', hide]);
  if (allowed.status !== 0) throw new Skipped(`the driver cannot be hidden from a process here: ${tail(allowed.err, 1)}`);
  return run(['unshare', '-m', 'sh', '-c', `${hide} && exec "$0" -e "$1"`, process.execPath, select], { cwd: folder, env });
}
