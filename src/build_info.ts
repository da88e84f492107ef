/** What this build and this process can do (Horovod's --check-build). Main thread; loads no TensorFlow. */
import { dtypes } from './dtype';
import { backends } from './tensorflow/backends/select';
import { version } from './version';

const packages = [...new Set(backends.flatMap((backend) => backend.packages))];

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
    backends: Object.fromEntries(backends.map((backend) => [backend.name, backend.packages.every((name) => installed[name] !== null)])),
    transports: ['tcp'],
    collectives: ['allreduce', 'allgather', 'broadcast', 'alltoall', 'reducescatter', 'barrier'],
    dtypes: [...dtypes],
    simd: true,
    tls: true,
    elastic: false,
  };
}
