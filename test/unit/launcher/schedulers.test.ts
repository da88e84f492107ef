import t from 'tap';
import { LaunchError } from '../../../launcher/errors';
import { hostsOfMpiOperator } from '../../../launcher/schedulers/kubernetes';
import { hostsOfAllocation, srunCommand } from '../../../launcher/schedulers/slurm';
import { batchScript, salloc, srunRank3 } from '../schedulers/recorded';

t.test('the hosts and slots of a Slurm allocation', async (t) => {
  const short = (env: Record<string, string | undefined>) => hostsOfAllocation(env)?.map(({ host, slots }) => `${host}:${slots}`);
  t.equal(short({}), undefined);
  t.equal(short({ SLURM_CONF: '/etc/slurm.conf' }), undefined);
  t.same(short(batchScript), ['h1:2', 'h2:2']);
  t.same(short(salloc), ['h1:3', 'h2:1']);
  t.same(short({ ...salloc, SLURM_TASKS_PER_NODE: undefined, SLURM_JOB_CPUS_PER_NODE: '8,4' }), ['h1:8', 'h2:4']);
  t.same(short({ ...salloc, SLURM_TASKS_PER_NODE: undefined, SLURM_JOB_CPUS_PER_NODE: '8,1', SLURM_CPUS_PER_TASK: '2' }), ['h1:4', 'h2:1']);
  // One tsrun in a step of its own is as good as one in the script.
  t.same(short({ ...salloc, SLURM_STEP_ID: '0', SLURM_STEP_NUM_TASKS: '1' }), ['h1:3', 'h2:1']);
  t.throws(() => short(srunRank3), LaunchError);
  t.throws(() => short(srunRank3), /4 copies of tsrun/);
  t.throws(() => short({ ...salloc, SLURM_JOB_NODELIST: 'h[1-3]' }), /SLURM_JOB_NODELIST.*names 3 nodes/);
  t.equal(srunCommand('h2')[0], 'srun');
  t.ok(srunCommand('h2').includes('--nodelist=h2'));
});

t.test('the hostfile of the MPI Operator, as each MPI gets it', async (t) => {
  const files: Record<string, string> = {
    '/etc/mpi/hostfile': 'pi-worker-0.pi.default.svc slots=2\npi-worker-1.pi.default.svc slots=2\n',
    '/etc/mpi/colons': 'pi-worker-0.pi.default.svc:2\n',
  };
  const read = (file: string): string => {
    if (!(file in files)) throw new Error(`ENOENT: ${file}`);
    return files[file]!;
  };
  const operator = { KUBERNETES_SERVICE_HOST: '10.96.0.1', K_MPI_JOB_ROLE: 'launcher' };
  const openMpi = {
    ...operator,
    OMPI_MCA_orte_keep_fqdn_hostnames: 'true',
    OMPI_MCA_orte_default_hostfile: '/etc/mpi/hostfile',
    OMPI_MCA_plm_rsh_args: '-o ConnectionAttempts=10',
    OMPI_MCA_orte_set_default_slots: '2',
  };
  const found = hostsOfMpiOperator(openMpi, read)!;
  t.same(
    found.hosts.map(({ host, slots }) => `${host}:${slots}`),
    ['pi-worker-0.pi.default.svc:2', 'pi-worker-1.pi.default.svc:2'],
  );
  t.match(found, { rsh: undefined, connectionAttempts: 10, hostfile: '/etc/mpi/hostfile' });
  for (const name of ['I_MPI_HYDRA_HOST_FILE', 'HYDRA_HOST_FILE'])
    t.equal(hostsOfMpiOperator({ ...operator, [name]: '/etc/mpi/colons' }, read)!.hosts[0]!.slots, 2, name);
  t.equal(hostsOfMpiOperator({ ...openMpi, OMPI_MCA_plm_rsh_agent: '/etc/mpi/kubexec.sh' }, read)!.rsh, '/etc/mpi/kubexec.sh');
  t.equal(hostsOfMpiOperator({ ...openMpi, OMPI_MCA_plm_rsh_agent: '/usr/bin/ssh -q' }, read)!.rsh, undefined);
  t.equal(hostsOfMpiOperator(operator, read), undefined);
  t.equal(hostsOfMpiOperator({ OMPI_MCA_orte_default_hostfile: '/etc/mpi/hostfile' }, read), undefined, 'no pod');
  t.throws(() => hostsOfMpiOperator({ ...openMpi, OMPI_MCA_orte_default_hostfile: '/none' }, read), LaunchError);
});
