/** What this build and this process can do (Horovod's --check-build). Main thread; loads no TensorFlow. */
import { dtypes } from './dtype';
import { version } from './version';

const packages = [
  '@tensorflow/tfjs',
  '@tensorflow/tfjs-backend-wasm',
  'webgpu',
  '@tensorflow/tfjs-backend-webgpu',
  '@tensorflow/tfjs-node',
  '@tensorflow/tfjs-node-gpu',
] as const;

function installedVersion(name: string): string | null {
  try {
    return (require(`${name}/package.json`) as { version: string }).version;
  } catch {
    return null;
  }
}

/** What this build and this process can do: versions (null: not installed), backends (their packages are there; `tsrun --check-build` tries them), transports, TLS, SIMD, dtypes. Needs no job, throws nothing. */
export function buildInfo(): Record<string, unknown> {
  const installed = Object.fromEntries(packages.map((name) => [name, installedVersion(name)]));
  return {
    version,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    packages: installed,
    backends: {
      'tfjs-node-gpu': installed['@tensorflow/tfjs-node-gpu'] !== null,
      'tfjs-node': installed['@tensorflow/tfjs-node'] !== null,
      webgpu: installed.webgpu !== null && installed['@tensorflow/tfjs-backend-webgpu'] !== null,
      wasm: installed['@tensorflow/tfjs-backend-wasm'] !== null,
      cpu: installed['@tensorflow/tfjs'] !== null,
    },
    transports: ['tcp'],
    collectives: ['allreduce', 'allgather', 'broadcast', 'alltoall', 'reducescatter', 'barrier'],
    dtypes: [...dtypes],
    simd: true,
    tls: true,
    elastic: false,
  };
}
