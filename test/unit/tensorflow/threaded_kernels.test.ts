/** The training kernels once more, on the threaded module. */
import t from 'tap';

process.env.TSRUN_THREADS_PER_PROCESS = '2';
// Loaded after that, they select their backend with as many threads.
require('./kernels.test');
require('./kernels_linear.test');

t.test('they ran on two threads', async (t) => {
  t.equal((require('@tensorflow/tfjs-backend-wasm') as { getThreadsCount(): number }).getThreadsCount(), 2);
});
