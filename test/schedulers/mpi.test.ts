/** `mpirun node train.js`, under the real Open MPI and MPICH. Debian has both, each under a name of its own. */
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { chooseAddress, localInterfaces } from '../../src/rendezvous/interfaces';
import { meets, metIn, start, whyNot } from '../helpers/started';

const outer = chooseAddress(localInterfaces());
/** As root Open MPI wants to be asked twice. */
const openMpiEnv = { OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' };
const systems = [
  { name: 'Open MPI', mpirun: 'mpirun.openmpi', options: ['--oversubscribe'], env: openMpiEnv },
  { name: 'MPICH', mpirun: 'mpirun.mpich', options: [], env: {} },
];
const sums = (out: string): number[] => metIn(out).map(({ sum }) => sum);

for (const { name, mpirun, options, env } of systems) {
  t.test(name, { skip: whyNot(mpirun) ?? false }, async (t) => {
    const run = (...args: string[]) => start(mpirun, [...options, ...args], env);

    await t.test('its processes are ranks of one job, again and again in one program', async (t) => {
      const { status, out, err } = await run('-np', '4', process.execPath, meets, '2');
      t.equal(status, 0, err);
      t.same(
        metIn(out).map(({ generation, rank, size, local, cross, homogeneous }) => [generation, rank, size, local, cross, homogeneous]),
        [1, 2].flatMap((generation) => [0, 1, 2, 3].map((rank) => [generation, rank, 4, [rank, 4], [0, 1], true])),
      );
      t.same(sums(out), Array(8).fill(10));
    });

    await t.test('a shell between it and node changes nothing, and neither does another job', async (t) => {
      const both = await Promise.all([1, 2].map(() => run('-np', '3', 'sh', '-c', `${process.execPath} ${meets}; true`)));
      for (const { out, err } of both) t.same(sums(out), [6, 6, 6], err);
    });

    await t.test('one process is a job of size 1', async (t) => {
      const { out, err } = await run('-np', '1', process.execPath, meets);
      t.match(metIn(out), [{ size: 1, host: os.hostname() }], err);
    });

    await t.test('with a key file the ranks meet at MASTER_ADDR', { skip: outer ? false : 'needs a network interface' }, async (t) => {
      const key = path.join(t.testdir({}), 'key');
      writeFileSync(key, 'a key that is long enough for everyone', { mode: 0o600 });
      const { out, err } = await start(mpirun, [...options, '-np', '3', process.execPath, meets], {
        ...env,
        TSRUN_KEY_FILE: key,
        MASTER_ADDR: outer!,
      });
      t.same(sums(out), [6, 6, 6], err);
    });
  });
}
