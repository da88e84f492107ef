/** What the build says of itself. */
import t from 'tap';
import { buildInfo } from '../../src/index';
import { version } from '../../src/version';

t.test('buildInfo says what there is', async (t) => {
  t.match(buildInfo(), { version, node: process.version, transports: ['tcp'], tls: true, simd: true, elastic: false });
  t.same(buildInfo().collectives, ['allreduce', 'allgather', 'broadcast', 'alltoall', 'reducescatter', 'barrier']);
  t.ok((buildInfo().dtypes as string[]).includes('float32'));
});
