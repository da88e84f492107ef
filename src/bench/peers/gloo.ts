/** Gloo, over loopback: as PyTorch ships it (torch.distributed), and by its own C++ interface. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { environment } from '../../config';
import { type Peer, type PeerRequest, parsePeerRun, wordsOf } from './peer';
import { runAlone, runTogether } from './processes';

const PROBE_MS = 120_000;

/** One process a rank. @param meet what they meet by: a file that PyTorch makes, a folder that Gloo writes into */
async function runRanks(name: string, argv: readonly string[], meet: string, request: PeerRequest) {
  const programs = Array.from({ length: request.ranks }, (_, rank) => ({
    argv: [...argv, ...wordsOf(request)],
    env: { RANK: `${rank}`, WORLD: `${request.ranks}`, MEET: meet, GLOO_SOCKET_IFNAME: 'lo', OMP_NUM_THREADS: '1' },
  }));
  const [out = ''] = await runTogether(programs);
  return parsePeerRun(name, out, request);
}

/** Every python3 of PATH: one may have PyTorch where another has not. */
function pythons(): string[] {
  const folders = (environment().PATH ?? '').split(':').filter((folder) => folder !== '');
  return [...new Set(folders.map((folder) => path.join(folder, 'python3')))].filter((file) => existsSync(file));
}

export const torchGloo: Peer = {
  name: 'gloo',
  title: 'PyTorch Gloo',
  async prepare() {
    const program = path.join(__dirname, 'allreduce_torch.py');
    for (const python of pythons()) {
      try {
        await runAlone(
          {
            argv: [
              python,
              '-c',
              'import torch.distributed as d; assert d.is_gloo_available() if hasattr(d, "is_gloo_available") else True',
            ],
          },
          PROBE_MS,
        );
      } catch {
        continue;
      }
      return async (request: PeerRequest) => {
        const { version = 'PyTorch', rows } = await runRanks('gloo', [python, program], path.join(request.folder, 'meet'), request);
        return { version, rows };
      };
    }
    return { why: 'no python3 of PATH can import torch.distributed', install: 'pip install torch (or apt-get install python3-torch)' };
  },
};

export const glooCpp: Peer = {
  name: 'gloo-cpp',
  title: 'Gloo C++',
  async prepare(folder) {
    const binary = path.join(folder, 'allreduce_gloo');
    try {
      const flags = ['-O3', '-std=c++17', '-pthread'];
      await runAlone({ argv: ['c++', ...flags, path.join(__dirname, 'allreduce_gloo.cc'), '-o', binary, '-lgloo'] }, PROBE_MS);
    } catch (error) {
      return { why: (error as Error).message.split('\n').slice(0, 2).join(' '), install: 'apt-get install g++ libgloo-dev' };
    }
    const version = await packageVersion('libgloo-dev');
    return async (request: PeerRequest) => ({ version, rows: (await runRanks('gloo-cpp', [binary], request.folder, request)).rows });
  },
};

/** Gloo's headers do not say which they are. */
async function packageVersion(name: string): Promise<string> {
  try {
    const status = await runAlone({ argv: ['dpkg-query', '--status', name] }, PROBE_MS);
    return `Gloo ${/^Version: (.*)$/m.exec(status)![1]}`;
  } catch {
    return 'Gloo, of a version that it does not tell';
  }
}
