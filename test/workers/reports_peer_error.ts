/** Reduces until that fails; writes down how and when as `failed-RANK`, then stays until it is ended. Arguments: a folder. */
import * as hvd from '../../src/index';
import { put } from '../helpers/put';

const [folder = ''] = process.argv.slice(2);
process.on('SIGTERM', () => process.exit(0));
hvd.init();
const rank = hvd.rank();
const describe = (error: unknown) => ({
  isPeerError: error instanceof hvd.PeerError,
  peer: (error as { peer?: number }).peer,
  message: String(error),
});
try {
  for (let step = 0; ; step += 1) {
    hvd.allreduce(new Float32Array(300_000).fill(1), { op: hvd.Sum, name: 'beat' });
    if (step === 3) put(folder, `ready-${rank}`, String(process.pid));
  }
} catch (error) {
  const at = Date.now();
  let later: unknown;
  try {
    hvd.allreduce(new Float32Array(1), { name: 'later' });
  } catch (second) {
    later = second;
  }
  put(folder, `failed-${rank}`, JSON.stringify({ at, first: describe(error), later: describe(later) }));
}
setTimeout(() => process.exit(1), 60_000);
