/** Who a process is, from environments recorded in real jobs. */
import t from 'tap';
import { RendezvousError, UsageError } from '../../../src/errors';
import { type Facts, type JobIdentity, portOf } from '../../../src/schedulers/identity';
import { identify } from '../../../src/schedulers/select';
import * as recorded from './recorded';

const facts = (hostname: string, hostsFile = ''): Facts => ({ hostname, hostsFile: () => hostsFile, launcherPid: () => 4242 });
const who = (env: Record<string, string | undefined>, given = facts('vm')): JobIdentity | undefined => identify(env, given);
/** `scheduler rank/size local/of cross/of`, and where they meet; '?' is left to the meeting. */
function summary(env: Record<string, string | undefined>, given?: Facts): string {
  const one = who(env, given);
  if (!one) return 'alone';
  const of = (rank?: number, size?: number): string => `${rank ?? '?'}/${size ?? '?'}`;
  const where = one.isOneHost ? 'one host' : one.rendezvous.hosts.join(' or ');
  return `${one.scheduler} ${of(one.rank, one.size)} ${of(one.localRank, one.localSize)} ${of(one.crossRank, one.crossSize)} ${where}`;
}

t.test('each system is recognised, and says who and where', async (t) => {
  const table: Array<[string, Record<string, string | undefined>, string, Facts?]> = [
    ['nobody', { PATH: '/bin' }, 'alone'],
    ['srun', recorded.srunRank3, 'Slurm 3/4 0/1 1/2 h1'],
    ['srun in sbatch', recorded.srunInBatch, 'Slurm 2/4 0/2 1/2 h1'],
    ['srun in salloc', recorded.srunInSalloc, 'Slurm 1/2 1/2 0/1 one host'],
    ['srun with a PMI plugin is still Slurm', recorded.srunPmi2, 'Slurm 0/2 0/2 0/1 one host'],
    ['the shell of a batch script', recorded.batchScript, 'alone'],
    ['the shell of salloc', recorded.salloc, 'alone'],
    ['a shell in an interactive step', { ...recorded.srunInSalloc, SLURM_STEP_ID: '4294967290' }, 'alone'],
    ['srun --pty bash', { ...recorded.srunInSalloc, SLURM_PTY_PORT: '46119', SLURM_JOB_NAME: 'bash' }, 'alone'],
    ['srun --pty node', { ...recorded.srunInSalloc, SLURM_PTY_PORT: '46119', SLURM_JOB_NAME: 'node' }, 'Slurm 1/2 1/2 0/1 one host'],
    ['mpirun on one host', recorded.openMpiOneHost, 'Open MPI 1/2 1/2 ?/? one host'],
    ['mpirun on two hosts', recorded.openMpiTwoHosts, 'Open MPI 2/3 1/2 ?/? 10.91.0.1', facts('h2')],
    ['mpirun in an allocation', recorded.openMpiInSalloc, 'Open MPI 0/4 0/3 ?/? h1', facts('h1')],
    ['Open MPI 5 on two hosts', recorded.openMpi5TwoHosts, 'Open MPI 1/2 0/1 ?/? node-a', facts('node-b')],
    ['the user says where rank 0 is', { ...recorded.openMpiTwoHosts, MASTER_ADDR: 'head' }, 'Open MPI 2/3 1/2 ?/? head'],
    ['MPICH on one host', recorded.mpichOneHost, 'MPICH 1/2 1/2 ?/? one host'],
    ['MPICH on two hosts', { ...recorded.mpichTwoHosts, MASTER_ADDR: 'h1' }, 'MPICH 1/3 0/2 ?/? h1'],
    ['MPICH in an allocation', recorded.mpichInSalloc, 'MPICH 0/4 0/3 ?/? h1'],
    [
      'MVAPICH2',
      { MV2_COMM_WORLD_RANK: '1', MV2_COMM_WORLD_SIZE: '2', MV2_COMM_WORLD_LOCAL_RANK: '1', MV2_COMM_WORLD_LOCAL_SIZE: '2' },
      'MPICH 1/2 1/2 ?/? one host',
    ],
    ['torchrun', recorded.torchrun, 'torchrun 6/8 2/4 ?/? node-a'],
    ['torchrun that mpirun started', { ...recorded.openMpiTwoHosts, ...recorded.torchrun }, 'torchrun 6/8 2/4 ?/? node-a'],
    [
      "torch's variables by hand",
      { RANK: '1', WORLD_SIZE: '2', MASTER_ADDR: 'h1', MASTER_PORT: '1234' },
      "torch's variables 1/2 ?/? ?/? h1",
    ],
    ['the same on loopback', { RANK: '1', WORLD_SIZE: '2', MASTER_ADDR: 'localhost' }, "torch's variables 1/2 ?/? ?/? one host"],
    ['RANK without WORLD_SIZE means nothing', { RANK: '1' }, 'alone'],
    ['a PyTorchJob', recorded.pytorchJob, 'Kubeflow 2/3 0/1 2/3 train-master-0'],
    ['an elastic PyTorchJob', { ...recorded.pytorchJob, PET_NNODES: '1:3' }, 'Kubeflow 2/3 0/1 2/3 train-master-0'],
    ['a TrainJob', recorded.trainJob, 'Kubeflow 1/4 0/1 1/4 train-node-0-0.train'],
    [
      'an Indexed Job',
      recorded.indexedJob,
      'Kubernetes 3/4 0/1 3/4 train-0.train.default.svc.cluster.local',
      facts('train-3', recorded.podHosts),
    ],
    [
      'a JobSet',
      { ...recorded.indexedJob, JOB_COMPLETION_INDEX: '1' },
      'Kubernetes 1/4 0/1 1/4 set-workers-0-0.set.ml.svc.cluster.local',
      facts('set-workers-0-1', '10.0.0.2 set-workers-0-1.set.ml.svc.cluster.local set-workers-0-1'),
    ],
    ['an Indexed Job of independent tasks', { ...recorded.indexedJob, WORLD_SIZE: undefined }, 'alone'],
    [
      'a pod of one in a job of many',
      { ...recorded.indexedJob, OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '1', OMPI_COMM_WORLD_LOCAL_SIZE: '1', MASTER_ADDR: 'x' },
      'Kubernetes 3/4 0/1 3/4 x',
    ],
  ];
  for (const [title, env, expected, given] of table) t.equal(summary(env, given), expected, title);
});

t.test("tsrun's own variables win over everything, and HOROVOD_SIZE=1 makes a job of one", async (t) => {
  for (const env of [recorded.srunRank3, recorded.openMpiOneHost, recorded.torchrun, recorded.indexedJob]) {
    t.equal(who({ ...env, HOROVOD_RANK: '0', HOROVOD_SIZE: '2', TSRUN_RENDEZVOUS: '127.0.0.1:1' }), undefined);
    t.equal(who({ ...env, HOROVOD_SIZE: '1' }), undefined);
  }
});

t.test('ports and ids are the same on all ranks of a job, and others in another', async (t) => {
  const [here, there] = [recorded.srunRank3, { ...recorded.srunRank3, SLURM_PROCID: '0', SLURM_LOCALID: '0', SLURM_NODEID: '0' }].map(
    (env) => who(env)!,
  );
  t.equal(here!.jobId, there!.jobId);
  t.equal(here!.rendezvous.port, there!.rendezvous.port);
  const others = [{ SLURM_STEP_ID: '1' }, { SLURM_JOB_ID: '2' }, { SLURM_RESTART_COUNT: '1' }].map(
    (change) => who({ ...recorded.srunRank3, ...change })!,
  );
  t.equal(new Set([here, ...others].map((one) => one!.jobId)).size, 4);
  t.equal(who({ ...recorded.srunRank3, MASTER_PORT: '4000' })!.rendezvous.port, 4000);
  t.equal(who({ ...recorded.torchrun, RANK: '0' })!.rendezvous.port, who(recorded.torchrun)!.rendezvous.port);
  t.not(who(recorded.torchrun)!.rendezvous.port, 29_400, "torchrun's own store has that one");
  t.equal(who(recorded.mpichOneHost)!.jobId, 'mpich-4242');
  const range = { first: 5000, last: 5003 };
  for (let i = 0; i < 100; i += 1) {
    const [free, ranged] = [portOf(`job-${i}`), portOf(`job-${i}`, range)];
    t.ok(free >= 20_000 && free < 30_000 && ranged >= 5000 && ranged <= 5003, `${free} ${ranged}`);
  }
});

t.test('the hosts of all ranks are known where the system says', async (t) => {
  t.same(who(recorded.srunRank3)!.hosts, ['h1', 'h1', 'h1', 'h2']);
  t.equal(who({ ...recorded.srunRank3, SLURM_DISTRIBUTION: 'cyclic' })!.hosts, undefined);
  t.equal(who(recorded.srunRank3)!.hostname, 'h2');
  t.same(who(recorded.indexedJob, facts('train-3', recorded.podHosts))!.hosts?.[1], 'train-1.train.default.svc.cluster.local');
  t.ok(who(recorded.indexedJob, facts('train-3', recorded.podHosts))!.isInPod);
  t.notOk(who(recorded.srunRank3)!.isInPod);
});

t.test('a variable that is wrong is named', async (t) => {
  const table: Array<[Record<string, string | undefined>, RegExp]> = [
    [{ ...recorded.srunRank3, SLURM_PROCID: 'x' }, /SLURM_PROCID is 'x'/],
    [{ ...recorded.srunRank3, SLURM_PROCID: '4' }, /SLURM_PROCID is 4 and SLURM_STEP_NUM_TASKS is 4/],
    [{ ...recorded.srunRank3, SLURM_LOCALID: undefined }, /SLURM_LOCALID is not set/],
    [{ ...recorded.srunRank3, SLURM_NODEID: '2' }, /SLURM_NODEID is 2/],
    [{ ...recorded.srunRank3, SLURM_STEP_NODELIST: 'h[1-' }, /SLURM_STEP_NODELIST is 'h\[1-'.*not closed/],
    [{ ...recorded.srunRank3, SLURM_STEP_TASKS_PER_NODE: '3' }, /names 2 nodes, but SLURM_STEP_TASKS_PER_NODE \('3'\) has counts for 1/],
    [{ ...recorded.srunRank3, SLURM_STEP_TASKS_PER_NODE: '3,2' }, /5 tasks in all, and the step has 4/],
    [{ ...recorded.srunRank3, SLURM_STEP_TASKS_PER_NODE: '2(2)' }, /must be counts by node/],
    [{ ...recorded.openMpiOneHost, OMPI_COMM_WORLD_SIZE: '0' }, /OMPI_COMM_WORLD_SIZE is '0'/],
    [{ ...recorded.openMpiOneHost, OMPI_COMM_WORLD_RANK: '7' }, /OMPI_COMM_WORLD_RANK is 7/],
    [{ ...recorded.mpichOneHost, PMI_RANK: '-1' }, /PMI_RANK is '-1'/],
    [{ ...recorded.torchrun, MASTER_PORT: '70000' }, /MASTER_PORT is 70000/],
    [{ ...recorded.torchrun, LOCAL_RANK: '4' }, /LOCAL_RANK is 4/],
    [{ ...recorded.trainJob, PET_NPROC_PER_NODE: '8' }, /PET_NPROC_PER_NODE is 8.*numProcPerNode: 1/],
    [{ ...recorded.indexedJob, WORLD_SIZE: '3' }, /JOB_COMPLETION_INDEX is 3 and WORLD_SIZE is 3/],
  ];
  for (const [env, text] of table) {
    const error = t.throws(() => who(env), UsageError) as unknown as Error;
    t.match(error.message, text);
  }
});

t.test('where nothing says where rank 0 is, the error says what to set', async (t) => {
  const zeroElsewhere = { ...recorded.openMpiTwoHosts, OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_LOCAL_RANK: '0' };
  const table: Array<[Record<string, string | undefined>, RegExp, Facts?]> = [
    [zeroElsewhere, /mpirun runs on another host than rank 0.*-x MASTER_ADDR=HOST/],
    [{ ...recorded.openMpiInSalloc, SLURMD_NODENAME: 'h2' }, /first node of the Slurm allocation is h1, and rank 0 is on h2/],
    [{ ...recorded.openMpi5TwoHosts, OMPI_COMM_WORLD_RANK: '0' }, /mpirun runs on node-a, and rank 0 on node-b/, facts('node-b.cluster')],
    [{ ...recorded.openMpi5TwoHosts, PMIX_NAMESPACE: '77' }, /no variable of Open MPI says/],
    [recorded.mpichTwoHosts, /MASTER_ADDR=HOST MASTER_PORT=29500 mpirun/],
    [{ RANK: '0', WORLD_SIZE: '2' }, /MASTER_ADDR is not set/],
    [{ ...recorded.trainJob, PET_MASTER_ADDR: undefined }, /neither PET_MASTER_ADDR nor MASTER_ADDR/],
    [recorded.indexedJob, /headless service.*clusterIP: None.*subdomain: train/s, facts('train-3', '10.1.1.1 train-3')],
  ];
  for (const [env, text, given] of table) {
    const error = t.throws(() => who(env, given), RendezvousError) as unknown as Error;
    t.match(error.message, text);
  }
});
