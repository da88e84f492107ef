/** Open MPI: MPI_Allreduce as it comes (shared memory on one host), or over TCP alone. */
import os from 'node:os';
import path from 'node:path';
import { type Peer, type PeerRequest, parsePeerRun, wordsOf } from './peer';
import { runAlone } from './processes';

const PROBE_MS = 60_000;
const SOURCE = path.join(__dirname, 'allreduce_mpi.c');

/** Neither transports nor collectives by shared memory. */
const TCP_ONLY = ['--mca', 'pml', 'ob1', '--mca', 'btl', 'tcp,self', '--mca', 'btl_tcp_if_include', 'lo', '--mca', 'coll', '^sm,xhc,acoll'];
const AS_ROOT = { OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' };

const openMpi = (name: 'openmpi' | 'openmpi-tcp', title: string, options: readonly string[]): Peer => ({
  name,
  title,
  async prepare(folder) {
    const binary = path.join(folder, `allreduce_${name}`);
    try {
      await runAlone({ argv: ['mpirun', '--version'] }, PROBE_MS);
      await runAlone({ argv: ['mpicc', '-O3', SOURCE, '-o', binary] }, PROBE_MS);
    } catch (error) {
      return {
        why: (error as Error).message.split('\n').slice(0, 2).join(' '),
        install: 'apt-get install openmpi-bin libopenmpi-dev gcc libc6-dev',
      };
    }
    return async (request: PeerRequest) => {
      // Bound to cores while there is one for each, as it does by itself.
      const binding = request.ranks <= os.availableParallelism() ? 'core' : 'none';
      const argv = ['mpirun', '--oversubscribe', '--bind-to', binding, '-np', `${request.ranks}`, ...options, binary, ...wordsOf(request)];
      const { version = 'Open MPI', rows } = parsePeerRun(name, await runAlone({ argv, env: AS_ROOT }), request);
      return { version, rows };
    };
  },
});

export const openMpiDefault = openMpi('openmpi', 'Open MPI', []);
export const openMpiTcp = openMpi('openmpi-tcp', 'Open MPI, TCP', TCP_ONLY);
