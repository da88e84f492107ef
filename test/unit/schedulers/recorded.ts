/** Environments of real jobs, as their processes saw them (Slurm 22.05, Open MPI 4.1, MPICH 4.0), without what nobody reads; Open MPI 5's and those in pods from the sources of what sets them. */

/** `srun -N2 -n4`: three tasks on h1, one on h2; this is rank 3. */
export const srunRank3 = {
  SLURMD_NODENAME: 'h2',
  SLURM_CLUSTER_NAME: 'testbed',
  SLURM_CPUS_ON_NODE: '1',
  SLURM_GTIDS: '3',
  SLURM_JOBID: '1',
  SLURM_JOB_CPUS_PER_NODE: '3,1',
  SLURM_JOB_ID: '1',
  SLURM_JOB_NAME: 'node',
  SLURM_JOB_NODELIST: 'h[1-2]',
  SLURM_JOB_NUM_NODES: '2',
  SLURM_LOCALID: '0',
  SLURM_NNODES: '2',
  SLURM_NODEID: '1',
  SLURM_NPROCS: '4',
  SLURM_NTASKS: '4',
  SLURM_PROCID: '3',
  SLURM_STEPID: '0',
  SLURM_STEP_ID: '0',
  SLURM_STEP_NODELIST: 'h[1-2]',
  SLURM_STEP_NUM_NODES: '2',
  SLURM_STEP_NUM_TASKS: '4',
  SLURM_STEP_TASKS_PER_NODE: '3,1',
  SLURM_TASKS_PER_NODE: '3,1',
};
/** The shell of a batch script, `sbatch -N2 -n4 --ntasks-per-node=2`. */
export const batchScript = {
  SLURMD_NODENAME: 'h1',
  SLURM_CLUSTER_NAME: 'testbed',
  SLURM_GTIDS: '0',
  SLURM_JOBID: '2',
  SLURM_JOB_CPUS_PER_NODE: '2(x2)',
  SLURM_JOB_ID: '2',
  SLURM_JOB_NAME: 'batch.sh',
  SLURM_JOB_NODELIST: 'h[1-2]',
  SLURM_LOCALID: '0',
  SLURM_NNODES: '2',
  SLURM_NODEID: '0',
  SLURM_NPROCS: '4',
  SLURM_NTASKS: '4',
  SLURM_NTASKS_PER_NODE: '2',
  SLURM_PROCID: '0',
  SLURM_TASKS_PER_NODE: '2(x2)',
};
/** `srun` in that script; this is rank 2. */
export const srunInBatch = {
  ...batchScript,
  SLURMD_NODENAME: 'h2',
  SLURM_DISTRIBUTION: 'block',
  SLURM_GTIDS: '2,3',
  SLURM_NODEID: '1',
  SLURM_PROCID: '2',
  SLURM_STEPID: '0',
  SLURM_STEP_ID: '0',
  SLURM_STEP_NODELIST: 'h[1-2]',
  SLURM_STEP_NUM_NODES: '2',
  SLURM_STEP_NUM_TASKS: '4',
  SLURM_STEP_TASKS_PER_NODE: '2(x2)',
};
/** The shell of `salloc -N2 -n4`. */
export const salloc = {
  SLURM_CLUSTER_NAME: 'testbed',
  SLURM_JOBID: '3',
  SLURM_JOB_CPUS_PER_NODE: '3,1',
  SLURM_JOB_ID: '3',
  SLURM_JOB_NAME: 'interactive',
  SLURM_JOB_NODELIST: 'h[1-2]',
  SLURM_NNODES: '2',
  SLURM_NPROCS: '4',
  SLURM_NTASKS: '4',
  SLURM_TASKS_PER_NODE: '3,1',
};
/** `salloc -N1 -n2`, then `srun`. */
export const srunInSalloc = {
  ...salloc,
  SLURM_JOBID: '4',
  SLURM_JOB_ID: '4',
  SLURM_JOB_NODELIST: 'h1',
  SLURM_DISTRIBUTION: 'block',
  SLURM_LOCALID: '1',
  SLURM_NODEID: '0',
  SLURM_NPROCS: '2',
  SLURM_NTASKS: '2',
  SLURM_PROCID: '1',
  SLURM_STEP_ID: '0',
  SLURM_STEP_NODELIST: 'h1',
  SLURM_STEP_NUM_TASKS: '2',
  SLURM_STEP_TASKS_PER_NODE: '2',
  SLURM_TASKS_PER_NODE: '2',
};
/** `srun --mpi=pmi2 -N1 -n2`. */
export const srunPmi2 = {
  ...srunInSalloc,
  SLURM_JOB_ID: '6',
  SLURM_PROCID: '0',
  SLURM_LOCALID: '0',
  SLURM_MPI_TYPE: 'pmi2',
  PMI_FD: '11',
  PMI_JOBID: '6.0',
  PMI_RANK: '0',
  PMI_SIZE: '2',
};

/** `mpirun -np 2` on one host, rank 1. */
export const openMpiOneHost = {
  OMPI_COMM_WORLD_LOCAL_RANK: '1',
  OMPI_COMM_WORLD_LOCAL_SIZE: '2',
  OMPI_COMM_WORLD_NODE_RANK: '1',
  OMPI_COMM_WORLD_RANK: '1',
  OMPI_COMM_WORLD_SIZE: '2',
  OMPI_MCA_ess_base_jobid: '2013462529',
  OMPI_MCA_orte_hnp_uri: '2013462528.0;tcp://192.0.2.2,10.91.0.254:50607;tcp6://[fd00::2]:52703',
  OMPI_MCA_orte_local_daemon_uri: '2013462528.0;tcp://192.0.2.2,10.91.0.254:50607;tcp6://[fd00::2]:52703',
  OMPI_MCA_orte_num_nodes: '1',
  PMIX_HOSTNAME: 'vm',
  PMIX_NAMESPACE: '2013462529',
  PMIX_RANK: '1',
};
/** `mpirun --host h1:1,h2:2 -np 3` called on h1; rank 2, on h2. */
export const openMpiTwoHosts = {
  OMPI_COMM_WORLD_LOCAL_RANK: '1',
  OMPI_COMM_WORLD_LOCAL_SIZE: '2',
  OMPI_COMM_WORLD_RANK: '2',
  OMPI_COMM_WORLD_SIZE: '3',
  OMPI_MCA_ess_base_jobid: '2318008321',
  OMPI_MCA_orte_hnp_uri: '2318008320.0;tcp://10.91.0.1:52305',
  OMPI_MCA_orte_local_daemon_uri: '2318008320.1;tcp://10.91.0.2:58057',
  OMPI_MCA_orte_node_regex: 'h[1:1-2]@0(2)',
  OMPI_MCA_orte_num_nodes: '2',
  PMIX_HOSTNAME: 'h2',
  PMIX_NAMESPACE: '2318008321',
  PMIX_RANK: '2',
};
/** `salloc -N2 -n4 mpirun` called on a host that is not of the allocation; rank 0. Slurm's numbers are those of mpirun's own daemon. */
export const openMpiInSalloc = {
  ...salloc,
  OMPI_COMM_WORLD_LOCAL_RANK: '0',
  OMPI_COMM_WORLD_LOCAL_SIZE: '3',
  OMPI_COMM_WORLD_RANK: '0',
  OMPI_COMM_WORLD_SIZE: '4',
  OMPI_MCA_orte_hnp_uri: '2738487296.0;tcp://192.0.2.2,10.91.0.254:33653;tcp6://[fd00::2]:55407',
  OMPI_MCA_orte_local_daemon_uri: '2738487296.1;tcp://10.91.0.1:60285',
  PMIX_NAMESPACE: '2738487297',
  SLURMD_NODENAME: 'h1',
  SLURM_DISTRIBUTION: 'cyclic',
  SLURM_LOCALID: '0',
  SLURM_NODEID: '0',
  SLURM_NPROCS: '2',
  SLURM_NTASKS: '2',
  SLURM_PROCID: '0',
  SLURM_STEP_ID: '0',
  SLURM_STEP_NODELIST: 'h[1-2]',
  SLURM_STEP_NUM_TASKS: '2',
  SLURM_STEP_TASKS_PER_NODE: '1(x2)',
};
/** Open MPI 5 has no URI of its own for processes. */
export const openMpi5TwoHosts = {
  OMPI_COMM_WORLD_LOCAL_RANK: '0',
  OMPI_COMM_WORLD_LOCAL_SIZE: '1',
  OMPI_COMM_WORLD_RANK: '1',
  OMPI_COMM_WORLD_SIZE: '2',
  PMIX_HOSTNAME: 'node-b',
  PMIX_NAMESPACE: 'prterun-node-a-4711@1',
  PMIX_RANK: '1',
};

/** `mpirun.mpich -np 2` on one host. */
export const mpichOneHost = { MPI_LOCALNRANKS: '2', MPI_LOCALRANKID: '1', PMI_FD: '8', PMI_RANK: '1', PMI_SIZE: '2' };
/** `mpirun.mpich -hosts h1:1,h2:2 -np 3`, rank 1, on h2. */
export const mpichTwoHosts = {
  MPIR_CVAR_CH3_INTERFACE_HOSTNAME: 'h2',
  MPI_LOCALNRANKS: '2',
  MPI_LOCALRANKID: '0',
  PMI_FD: '5',
  PMI_RANK: '1',
  PMI_SIZE: '3',
};
/** `salloc -N2 -n4 mpirun.mpich`, rank 0: SLURM_NTASKS is the allocation's, the rest of Slurm's numbers those of hydra's daemon. */
export const mpichInSalloc = {
  ...openMpiInSalloc,
  OMPI_COMM_WORLD_RANK: undefined,
  PMIX_NAMESPACE: undefined,
  SLURM_NTASKS: '4',
  MPI_LOCALNRANKS: '3',
  MPI_LOCALRANKID: '0',
  PMI_FD: '5',
  PMI_RANK: '0',
  PMI_SIZE: '4',
};

/** `torchrun --nnodes 2 --nproc-per-node 4`, a worker of the second node. */
export const torchrun = {
  GROUP_RANK: '1',
  GROUP_WORLD_SIZE: '2',
  LOCAL_RANK: '2',
  LOCAL_WORLD_SIZE: '4',
  MASTER_ADDR: 'node-a',
  MASTER_PORT: '29400',
  RANK: '6',
  ROLE_RANK: '6',
  TORCHELASTIC_MAX_RESTARTS: '0',
  TORCHELASTIC_RESTART_COUNT: '0',
  TORCHELASTIC_RUN_ID: 'none',
  TORCHELASTIC_USE_AGENT_STORE: 'True',
  WORLD_SIZE: '8',
};
/** A worker pod of a PyTorchJob of the training operator 1.8: RANK counts pods. */
export const pytorchJob = {
  KUBERNETES_SERVICE_HOST: '10.96.0.1',
  MASTER_ADDR: 'train-master-0',
  MASTER_PORT: '23456',
  PET_MASTER_ADDR: 'train-master-0',
  PET_MASTER_PORT: '23456',
  PET_NNODES: '3',
  PET_NODE_RANK: '2',
  PET_NPROC_PER_NODE: '1',
  PYTHONUNBUFFERED: '1',
  RANK: '2',
  WORLD_SIZE: '3',
};
/** A pod of a TrainJob (Kubeflow Trainer 2) with numProcPerNode: 1. */
export const trainJob = {
  JOB_COMPLETION_INDEX: '1',
  KUBERNETES_SERVICE_HOST: '10.96.0.1',
  PET_MASTER_ADDR: 'train-node-0-0.train',
  PET_MASTER_PORT: '29500',
  PET_NNODES: '4',
  PET_NODE_RANK: '1',
  PET_NPROC_PER_NODE: '1',
};
/** A pod of an Indexed Job whose manifest sets WORLD_SIZE. */
export const indexedJob = { HOSTNAME: 'train-3', JOB_COMPLETION_INDEX: '3', KUBERNETES_SERVICE_HOST: '10.96.0.1', WORLD_SIZE: '4' };
/** /etc/hosts of such a pod, of a service `train`. */
export const podHosts = `# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
10.244.1.7\ttrain-3.train.default.svc.cluster.local\ttrain-3
`;
