/**
 * Training on the webgpu backend, by a software Vulkan adapter where there is no other: the same weights as on the cpu backend, nothing left behind. Skipped where Vulkan has no adapter, or the
 * packages cannot be installed. On a GPU: VK_DRIVER_FILES=/usr/share/vulkan/icd.d/nvidia_icd.json.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { makeProject, type Project, trySelect } from '../helpers/backend_project';
import { runJob } from '../helpers/tsrun';

const LIMIT_MS = 200_000;

/** Why there is nothing to test, else the project. */
function prepare(): Project | string {
  const project = makeProject('webgpu');
  if (typeof project === 'string') return project;
  const { out } = trySelect(project, 'webgpu');
  return /no Vulkan (loader|driver)|no GPU that Dawn takes/.test(out) ? out : project;
}
const project = prepare();
const skip = typeof project === 'string' && project;
const { folder, env, program } = project as Project;

interface Outcome {
  readonly device: string;
  readonly results: Readonly<Record<string, { readonly fitted: number[]; readonly tensors: number[] }>>;
}

t.test('models of every kind train as on the cpu backend', { skip }, async (t) => {
  const train = async (backend: string): Promise<Outcome[]> => {
    const { status, err, left } = await runJob(
      ['-np', '2', '--oversubscribe', program('workers/trains_models'), backend, folder],
      { env },
      LIMIT_MS,
    );
    t.equal(status, 0, err.slice(-2000));
    t.same(left, [], `${backend}: no process is left`);
    return [0, 1].map((rank) => JSON.parse(readFileSync(path.join(folder, `${backend}.${rank}.json`), 'utf8')));
  };
  const [expected] = await train('cpu');
  const [first, second] = await train('webgpu');
  t.match(first!.device, /WebGPU on/);
  t.same(Object.keys(first!.results), ['loop', 'mlp', 'cnn', 'residual', 'depthwise', 'lstm', 'embedding']);
  for (const [model, { fitted, tensors }] of Object.entries(first!.results)) {
    const { fitted: wanted } = expected!.results[model]!;
    t.equal(fitted.length, wanted.length, `${model}: as many weights`);
    const furthest = Math.max(...fitted.map((value, i) => Math.abs(value - wanted[i]!)));
    t.ok(furthest < 1e-4, `${model}: ${furthest} from the cpu backend`);
    t.same(second!.results[model]!.fitted, fitted, `${model}: the ranks are alike to the bit`);
    t.equal(tensors[1], tensors[0], `${model}: as many tensors as before`);
  }
});

t.test('a process ends as its program says', { skip }, async (t) => {
  for (const [way, code] of [
    ['naturally', 0],
    ['exit', 3],
    ['exit in a handler', 4],
    ['exit while the device works', 5],
    ['a timer that reads', 6],
    ['an awaited read', 7],
    ['a rejection', 1],
    ['a lost GPU', 8],
  ] as const) {
    const { status, err, left } = await runJob(['-np', '1', program('workers/ends_on_backend'), 'webgpu', way], { env });
    t.equal(status, code, `${way}: ${err.slice(-1000)}`);
    t.same(left, [], way);
  }
});

t.test('what cannot be used is said, and a software adapter is not taken by itself', { skip }, async (t) => {
  const onlyWebgpu = project as Project;
  const isSoftware = /llvmpipe|SwiftShader/.test(trySelect(onlyWebgpu, 'webgpu').out);
  if (isSoftware) {
    const { out, err } = trySelect(onlyWebgpu);
    t.match(out, /^wasm /);
    t.match(err, /webgpu: Vulkan has only a software adapter here \(llvmpipe.*selectBackend\('webgpu'\)/);
  } else t.match(trySelect(onlyWebgpu).out, /^webgpu GPU /);
  const none = trySelect(onlyWebgpu, 'webgpu', { VK_DRIVER_FILES: '/nonexistent.json' });
  t.match(none.out, /^ERR_HVD_BACKEND The backend 'webgpu' was asked for.*Vulkan shows no GPU.*NVIDIA_DRIVER_CAPABILITIES/);
  t.match(trySelect(onlyWebgpu, '', { VK_DRIVER_FILES: '/nonexistent.json' }).out, /^wasm /);
  t.equal(none.status, 0);
});
