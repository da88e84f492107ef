/** Which GPU a rank takes, and its share of the processors. */
import t from 'tap';
import { shareOf } from '../../../src/tensorflow/backends/backend';
import { driverProblem, visibleGpu } from '../../../src/tensorflow/backends/tfjs_node/gpu';

const share = (localRank: number, localSize: number, rest: { isByTsrun?: boolean; gpuSharers?: number } = {}) => ({
  localRank,
  localSize,
  isByTsrun: false,
  gpuSharers: 0,
  ...rest,
});

t.test('ranks that tsrun did not start take the GPU of their local rank', async (t) => {
  t.equal(visibleGpu({ visible: undefined, count: 4 }, share(2, 4)), '2');
  t.equal(visibleGpu({ visible: '7,GPU-5a,3', count: 8 }, share(1, 2)), 'GPU-5a');
  t.equal(visibleGpu({ visible: undefined, count: undefined }, share(1, 2)), undefined, 'nobody knows how many there are');
  t.equal(visibleGpu({ visible: undefined, count: 4 }, share(0, 1)), undefined, 'alone: as it is');
  t.throws(() => visibleGpu({ visible: undefined, count: 2 }, share(2, 3)), {
    code: 'ERR_HVD_BACKEND',
    message: /2 GPUs for 3 ranks.*none is left for local rank 2.*at most 2 ranks/,
  });
});

t.test('what tsrun has given out stays', async (t) => {
  t.equal(visibleGpu({ visible: '3', count: 4 }, share(1, 4, { isByTsrun: true })), undefined);
  t.equal(visibleGpu({ visible: undefined, count: 4 }, share(1, 4, { isByTsrun: true })), undefined, '--no-gpu-pinning');
  t.throws(() => visibleGpu({ visible: '0', count: 2 }, share(2, 4, { isByTsrun: true, gpuSharers: 2 })), {
    code: 'ERR_HVD_BACKEND',
    message: /2 ranks of this host would share one GPU.*--oversubscribe/,
  });
});

t.test('no GPU at all', async (t) => {
  t.throws(() => visibleGpu({ visible: '', count: 4 }, share(0, 1)), { message: /CUDA_VISIBLE_DEVICES hides every GPU/ });
  t.throws(() => visibleGpu({ visible: '-1', count: 4 }, share(0, 1)), { message: /CUDA_VISIBLE_DEVICES hides every GPU/ });
  t.throws(() => visibleGpu({ visible: undefined, count: 0 }, share(0, 1)), { message: /driver finds no GPU/ });
});

t.test('a driver is known by its files', { skip: process.platform !== 'linux' && 'Linux names them' }, async (t) => {
  t.match(
    driverProblem(() => false),
    /no NVIDIA driver/,
  );
  t.equal(
    driverProblem((file) => file === '/dev/dxg'),
    undefined,
    'WSL',
  );
});

t.test('threads: what was asked for, else a share of the processors', async (t) => {
  const threadsOf = (available: number, localSize: number, localCpus: number, threadsPerProcess?: number): number =>
    shareOf({ localRank: 0, localSize, localCpus, threadsPerProcess, jobId: '', gpuSharers: 0 }, available).threads;
  t.equal(threadsOf(8, 2, 8), 4);
  t.equal(threadsOf(4, 2, 8), 4, 'bound to its own');
  t.equal(threadsOf(8, 3, 0), 2, 'nobody says how many the host has');
  t.equal(threadsOf(2, 4, 2), 1, 'more ranks than processors');
  t.equal(threadsOf(8, 2, 8, 6), 6);
});
