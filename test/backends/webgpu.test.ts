/**
 * Training on the webgpu backend, by a software Vulkan adapter where there is no other: the same weights as on the cpu backend, nothing left behind. Skipped where Vulkan has no adapter, or the
 * packages cannot be installed. On a GPU: VK_DRIVER_FILES=/usr/share/vulkan/icd.d/nvidia_icd.json.
 */
import t from 'tap';
import { endsAsItsProgramSays, trainsAlike } from '../helpers/backend_behaviour';
import { makeProject, type Project, trySelect } from '../helpers/backend_project';

const LIMIT_MS = 400_000;

/** Why there is nothing to test, else the project. */
function prepare(): Project | string {
  const project = makeProject('webgpu');
  if (typeof project === 'string') return project;
  const { out } = trySelect(project, 'webgpu');
  return /no Vulkan (loader|driver)|no GPU that Dawn takes/.test(out) ? out : project;
}
const project = prepare();
const skip = typeof project === 'string' && project;

t.test('models of every kind train as on the cpu backend', { skip }, async (t) => {
  const training = { backend: 'webgpu', device: /WebGPU on/, expected: 'cpu', limitMs: LIMIT_MS, options: ['--oversubscribe'] };
  await trainsAlike(t, project as Project, training);
});

t.test('a process ends as its program says', { skip }, async (t) =>
  endsAsItsProgramSays(t, project as Project, 'webgpu', [['a lost GPU', 8]]),
);

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
