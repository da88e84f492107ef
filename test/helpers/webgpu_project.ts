/**
 * A user's project that has the packages of WebGPU, which are no development dependencies (21 MB): made in a temporary folder, with this checkout's TensorFlow.js, so that there is one copy of it.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const root = path.join(__dirname, '..', '..', '..');
const SOFTWARE = ['/usr/share/vulkan/icd.d/lvp_icd.json', '/usr/share/vulkan/icd.d/lvp_icd.x86_64.json'];

export interface Project {
  readonly folder: string;
  /** The software adapter, where it is installed and nobody has chosen another (VK_DRIVER_FILES). */
  readonly env: Record<string, string>;
  /** A program of the project that is a worker of test/workers. */
  program(worker: string): string;
}

/** @returns why there is none, or the project; whoever made it removes the folder */
export function makeProject(): Project | string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-webgpu-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(path.join(folder, 'package.json'), '{"private": true}\n');
  const packages = ['webgpu@0.6.2', '@tensorflow/tfjs-backend-webgpu@4.22.0'];
  const { status, stderr } = spawnSync(
    'npm',
    ['install', '--ignore-scripts', '--legacy-peer-deps', '--no-audit', '--no-fund', ...packages],
    {
      cwd: folder,
      encoding: 'utf8',
      timeout: 120_000,
    },
  );
  if (status !== 0) return `${packages.join(' and ')} cannot be installed: ${stderr.trim().split('\n')[0]}`;
  const scope = path.join(folder, 'node_modules', '@tensorflow');
  mkdirSync(scope, { recursive: true });
  for (const name of readdirSync(path.join(root, 'node_modules', '@tensorflow'))) {
    rmSync(path.join(scope, name), { recursive: true, force: true });
    symlinkSync(realpathSync(path.join(root, 'node_modules', '@tensorflow', name)), path.join(scope, name));
  }
  const software = SOFTWARE.find((file) => existsSync(file));
  const env: Record<string, string> = software && !process.env.VK_DRIVER_FILES ? { VK_DRIVER_FILES: software } : {};
  return {
    folder,
    env,
    program: (worker) => {
      const file = path.join(folder, `${worker}.cjs`);
      writeFileSync(file, `require(${JSON.stringify(path.join(root, 'dist', 'test', 'workers', `${worker}.js`))});\n`);
      return file;
    },
  };
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
    timeout: 60_000,
    env: { ...process.env, ...env, ...more },
  });
  return { out: stdout.trim(), err: stderr, status };
}
