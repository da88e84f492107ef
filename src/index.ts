/** The public API of package `khorovod`: `import * as hvd from 'khorovod'`. Re-exports only; importing it loads no TensorFlow. */
export { alltoall, alltoallAsync, type Exchanged } from './alltoall';
export { buildInfo } from './build_info';
export { Compression, type Compressor, type PowerSgdOptions, type TopKOptions } from './compression';
export type { NumericArray } from './dtype';
export {
  BackendError,
  DuplicateNameError,
  type ErrorDetails,
  HvdError,
  MismatchError,
  NotInitializedError,
  PeerError,
  ProcessSetError,
  RendezvousError,
  ShutdownError,
  StallError,
  StepError,
  UsageError,
} from './errors';
export type { Handle } from './handle';
export {
  Adasum,
  Average,
  allgather,
  allgatherAsync,
  allocate,
  allreduce,
  allreduceAsync,
  broadcast,
  broadcastAsync,
  groupedAllgather,
  groupedAllgatherAsync,
  groupedAllreduce,
  groupedAllreduceAsync,
  Max,
  Min,
  Product,
  poll,
  type ReduceOp,
  type ReduceOptions,
  release,
  Sum,
  synchronize,
} from './hvd';
export {
  crossRank,
  crossSize,
  hostname,
  isHomogeneous,
  isInitialized,
  localRank,
  localSize,
  rank,
  report,
  shutdown,
  size,
} from './job';
export {
  addProcessSet,
  type BarrierOptions,
  barrier,
  barrierAsync,
  type InitOptions,
  init,
  join,
  joinAsync,
  removeProcessSet,
} from './membership';
export { allgatherObject, broadcastObject } from './objects';
export { globalProcessSet, ProcessSet } from './process_set';
export { groupedReducescatter, groupedReducescatterAsync, reducescatter, reducescatterAsync } from './reducescatter';
export type { CollectiveOptions } from './submit';
export { type BackendName, type SelectedBackend, selectBackend } from './tensorflow/backends/select';
export { broadcastOptimizerState } from './tensorflow/broadcast_state';
export { callbacks } from './tensorflow/callbacks';
export type { BestModelCheckpointArgs } from './tensorflow/callbacks/best_model';
export type { LearningRateScheduleArgs, LearningRateWarmupArgs } from './tensorflow/callbacks/learning_rate';
export { loadModel } from './tensorflow/load_model';
export {
  DistributedOptimizer,
  type DistributedOptimizerOptions,
  PartialDistributedOptimizer,
  type PartialDistributedOptimizerOptions,
} from './tensorflow/optimizer';
export { ParameterServerOptimizer, type ParameterServerOptimizerOptions } from './tensorflow/parameter_server_optimizer';
export { type ShardOptions, shard } from './tensorflow/shard';
export { type SyncBatchNormalizationArgs, syncBatchNormalization } from './tensorflow/sync_batch_norm';
export { train } from './tensorflow/train';
export { type ValueAndGradients, variableGrads } from './tensorflow/variable_grads';
export { type BroadcastOptions, broadcastVariables, type LayerVariable, type Variables } from './tensorflow/variables';
export { startTimeline, stopTimeline } from './timeline';
export type { Value } from './values';
