/**
 * A user's project that has a backend whose packages are no development dependencies (webgpu has 21 MB, tfjs-node 780): made in a temporary folder, with this checkout's TensorFlow.js, so that
 * there is one copy of it. A machine without a network may have such a folder already: BACKEND_PROJECT names it.
 */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const root = path.join(__dirname, '..', '..', '..');
const SOFTWARE = ['/usr/share/vulkan/icd.d/lvp_icd.json', '/usr/share/vulkan/icd.d/lvp_icd.x86_64.json'];
/** NVIDIA's libraries are 3.4 GB to download. */
const INSTALL_MS = 580_000;

export type InstalledBackend = 'webgpu' | 'tfjs-node' | 'tfjs-node-gpu';

export interface Project {
  readonly folder: string;
  /** The software adapter, where it is installed and nobody has chosen another (VK_DRIVER_FILES). */
  readonly env: Record<string, string>;
  /** What installing it said. */
  readonly said: string;
  /** A program of the project that is one of dist/test, named by its path there. */
  program(name: string): string;
}

const packageOf: Readonly<Record<InstalledBackend, string>> = {
  webgpu: 'webgpu',
  'tfjs-node': '@tensorflow/tfjs-node',
  'tfjs-node-gpu': '@tensorflow/tfjs-node-gpu',
};

const install: Readonly<Record<InstalledBackend, readonly string[]>> = {
  webgpu: [
    ...['npm', 'install', '--ignore-scripts', '--legacy-peer-deps', '--no-audit', '--no-fund'],
    ...['webgpu@0.6.2', '@tensorflow/tfjs-backend-webgpu@4.22.0'],
  ],
  'tfjs-node': [process.execPath, path.join(root, 'dist', 'launcher', 'tsrun.js'), 'install-tfjs-node'],
  'tfjs-node-gpu': [process.execPath, path.join(root, 'dist', 'launcher', 'tsrun.js'), 'install-tfjs-node', '--gpu'],
};

/** @returns why there is none, or the project; the folder of one that is made here is removed when this process ends */
export function makeProject(...backends: InstalledBackend[]): Project | string {
  const { BACKEND_PROJECT: prepared } = process.env;
  if (prepared && backends.every((backend) => existsSync(path.join(prepared, 'node_modules', packageOf[backend]))))
    return projectIn(prepared, backends, '');
  const folder = mkdtempSync(path.join(os.tmpdir(), `khorovod-${backends.join('-')}-`));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(path.join(folder, 'package.json'), '{"private": true}\n');
  let said = '';
  for (const backend of backends) {
    const [command, ...args] = install[backend];
    const { status, stdout, stderr } = spawnSync(command!, args, { cwd: folder, encoding: 'utf8', timeout: INSTALL_MS });
    if (status !== 0) return `${backend} cannot be installed: ${stderr.trim().split('\n').at(-1)}`;
    said += stdout;
  }
  return projectIn(folder, backends, said);
}

/** With this checkout's TensorFlow.js. */
function projectIn(folder: string, backends: readonly InstalledBackend[], said: string): Project {
  const scope = path.join(folder, 'node_modules', '@tensorflow');
  mkdirSync(scope, { recursive: true });
  for (const name of readdirSync(path.join(root, 'node_modules', '@tensorflow'))) {
    rmSync(path.join(scope, name), { recursive: true, force: true });
    symlinkSync(realpathSync(path.join(root, 'node_modules', '@tensorflow', name)), path.join(scope, name));
  }
  const software = SOFTWARE.find((file) => existsSync(file));
  const env: Record<string, string> =
    backends.includes('webgpu') && software && !process.env.VK_DRIVER_FILES ? { VK_DRIVER_FILES: software } : {};
  return {
    folder,
    env,
    said,
    program: (name) => {
      const file = path.join(folder, `${name.replaceAll('/', '.')}.cjs`);
      writeFileSync(file, `require(${JSON.stringify(path.join(root, 'dist', 'test', `${name}.js`))});\n`);
      return file;
    },
  };
}

/** tfjs-node-gpu as far as a machine without a GPU can have it, in a project that has tfjs-node: that package under the other name, with the same addon and library. */
export function addGpuPackage({ folder }: Project): void {
  const [cpu, gpu] = ['tfjs-node', 'tfjs-node-gpu'].map((name) => path.join(folder, 'node_modules', '@tensorflow', name)) as [
    string,
    string,
  ];
  mkdirSync(gpu);
  cpSync(path.join(cpu, 'dist'), path.join(gpu, 'dist'), { recursive: true });
  for (const name of ['deps', 'lib']) symlinkSync(path.join(cpu, name), path.join(gpu, name));
  const described = JSON.parse(readFileSync(path.join(cpu, 'package.json'), 'utf8')) as object;
  writeFileSync(path.join(gpu, 'package.json'), JSON.stringify({ ...described, name: '@tensorflow/tfjs-node-gpu' }));
}

/** What `selectBackend` says in that project, in a process of its own. */
export function trySelect(
  { folder, env }: Project,
  name = '',
  more: Record<string, string> = {},
): { out: string; err: string; status: number | null } {
  const entry = path.join(root, 'dist', 'src', 'index.js');
  const file = path.join(folder, 'select.cjs');
  writeFileSync(
    file,
    `require(${JSON.stringify(entry)}).selectBackend(${name && JSON.stringify(name)}).then(({ name, device }) => console.log(name, device), (error) => console.log(error.code, error.message));\n`,
  );
  const { stdout, stderr, status } = spawnSync(process.execPath, [file], {
    encoding: 'utf8',
    timeout: 180_000,
    env: { ...process.env, ...env, ...more },
  });
  return { out: stdout.trim(), err: stderr, status };
}
