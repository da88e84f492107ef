/** `srun node train.js`, under a real Slurm. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { srunCommand } from '../../launcher/schedulers/slurm';
import { Slurm, whyNoSlurm } from '../helpers/slurm';
import { meets, metIn, start } from '../helpers/started';

const tsrun = path.join(__dirname, '..', '..', 'launcher', 'tsrun.js');

t.test('jobs of Slurm', { skip: whyNoSlurm ?? false }, async (t) => {
  const slurm = await Slurm.start();
  t.teardown(() => slurm.stop());
  const folder = t.testdir({});
  const slurmed = (command: string, ...args: string[]) => start(command, args, slurm.env);
  const batch = async (...lines: string[]): Promise<string> => {
    const [script, out] = [path.join(folder, 'job.sh'), path.join(folder, 'job.out')];
    writeFileSync(script, ['#!/bin/sh', ...lines, ''].join('\n'));
    const { status, err } = await slurmed('sbatch', '--wait', '-n4', '-o', out, script);
    t.equal(status, 0, err);
    return readFileSync(out, 'utf8');
  };

  await t.test('srun makes a job of its tasks, again and again in one program', async (t) => {
    const { status, out, err } = await slurmed('srun', '-n4', process.execPath, meets, '2');
    t.equal(status, 0, err);
    t.same(
      metIn(out).map(({ generation, rank, size, local, cross, sum }) => [generation, rank, size, local, cross, sum]),
      [1, 2].flatMap((generation) => [0, 1, 2, 3].map((rank) => [generation, rank, 4, [rank, 4], [0, 1], 10])),
    );
  });

  await t.test('two steps at the same time do not meet each other', async (t) => {
    const both = await Promise.all([1, 2].map(() => slurmed('srun', '-n2', process.execPath, meets)));
    for (const { out, err } of both)
      t.same(
        metIn(out).map(({ sum }) => sum),
        [3, 3],
        err,
      );
  });

  await t.test('in a batch script plain node runs alone, and tsrun is not taken for a task', async (t) => {
    const alone = await batch(`${process.execPath} ${meets}`, `srun ${process.execPath} ${meets}`);
    t.same(
      metIn(alone).map(({ size }) => size),
      [1, 4, 4, 4, 4],
      alone,
    );
    const nested = await batch(`srun -n1 ${process.execPath} ${tsrun} -np 2 --oversubscribe --no-prefix ${meets}`);
    t.same(
      metIn(nested).map(({ size, sum }) => [size, sum]),
      [
        [2, 3],
        [2, 3],
      ],
      nested,
    );
  });

  await t.test('tsrun takes its processes from the allocation', async (t) => {
    const all = await batch(`${process.execPath} ${tsrun} --no-prefix ${meets}`);
    t.same(
      metIn(all).map(({ size, sum }) => [size, sum]),
      [1, 2, 3, 4].map(() => [4, 10]),
      all,
    );
  });

  await t.test('a shell of salloc is no task, what srun starts there is', async (t) => {
    const shell = await slurmed('salloc', '-n2', process.execPath, meets);
    t.match(metIn(shell.out), [{ size: 1 }], shell.err);
    const step = await slurmed('salloc', '-n2', 'srun', process.execPath, meets);
    t.match(metIn(step.out), [{ size: 2 }, { size: 2 }], step.err);
  });

  await t.test("the command that starts tsrun's agents carries bytes unchanged", async (t) => {
    const [srun, ...options] = srunCommand(readFileSync(path.join(slurm.folder, 'slurm.conf'), 'utf8').match(/NodeName=(\S+)/)![1]!);
    const code = "process.stdin.on('data', (chunk) => process.stdout.write(chunk))";
    const bytes = path.join(folder, 'bytes');
    writeFileSync(bytes, Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 31) & 255)));
    const shell = `${srun} ${options.join(' ')} ${process.execPath} -e "${code}" < ${bytes} > ${bytes}.out`;
    const { status, err } = await slurmed('salloc', '-n2', 'sh', '-c', shell);
    t.equal(status, 0, err);
    t.ok(readFileSync(`${bytes}.out`).equals(readFileSync(bytes)));
  });
});
