/** Every --algorithm on real processes: right sums, the same bits on all ranks; settings that ranks do not share. The job is formed anew for each. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { algorithms } from '../../src/config';
import * as hvd from '../../src/index';

const [rank, size] = [Number(process.env.HOROVOD_RANK), Number(process.env.HOROVOD_SIZE)];
const everyone = Array.from({ length: size }, (_, r) => r);
/** Of this rank alone. */
const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-algorithms-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const ownHost = process.env.HOROVOD_HOSTNAME!;

/** A job with these variables, and then none. */
function inJob(env: Readonly<Record<string, string>>, act: () => void): void {
  Object.assign(process.env, env);
  try {
    hvd.init();
    act();
  } finally {
    hvd.shutdown();
    for (const name of Object.keys(env)) delete process.env[name];
    process.env.HOROVOD_HOSTNAME = ownHost;
  }
}

const integer = (r: number, i: number): number => ((i * 7 + r * 5) % 1001) - 500;
/** Of very different magnitudes, so that another order of additions gives other bits. */
const float = (r: number, i: number): number => Math.sin(1 + i * 13 + r * 29) * 2 ** ((i * 3 + r * 5) % 20);

for (const algorithm of ['auto', ...algorithms]) {
  t.test(`--algorithm ${algorithm}: integers exactly, floats within rounding, all ranks the same bits`, async (t) => {
    // As two hosts, though there is one; ranks by turns, the first with one more where they are odd.
    inJob({ TSRUN_ALGORITHM: algorithm, HOROVOD_HOSTNAME: `host${rank % 2}` }, () => {
      for (const elems of [1, 2, 3, 2049, 70_001, 300_007]) {
        const integers = hvd.allreduce(
          Int32Array.from({ length: elems }, (_, i) => integer(rank, i)),
          { op: 'sum' },
        ) as Int32Array;
        const wrong = integers.findIndex((value, i) => value !== everyone.reduce((sum, r) => sum + integer(r, i), 0));
        t.equal(wrong, -1, `${elems} integers`);
        const floats = hvd.allreduce(
          Float32Array.from({ length: elems }, (_, i) => float(rank, i)),
          { op: 'sum' },
        ) as Float32Array;
        const far = floats.findIndex((value, i) => {
          const terms = everyone.map((r) => Math.fround(float(r, i)));
          const magnitude = terms.reduce((sum, term) => sum + Math.abs(term), 0);
          return !(Math.abs(value - terms.reduce((sum, term) => sum + term, 0)) <= size * 2 ** -24 * magnitude);
        });
        t.equal(far, -1, `${elems} floats`);
        const bits = new Int32Array(floats.buffer, floats.byteOffset, elems);
        const [least, most] = (['min', 'max'] as const).map((op) => hvd.allreduce(bits, { op }) as Int32Array) as [Int32Array, Int32Array];
        t.ok(
          least.every((value, i) => value === most[i]),
          `${elems} floats: the bits of all ranks`,
        );
      }
    });
  });
}

t.test('settings that contradict each other, and a cost model that makes no sense, are refused at init()', async (t) => {
  const file = path.join(folder, 'wrong.json');
  writeFileSync(file, '{"reduceSecondsPerByte": -1}');
  const fails = (env: Record<string, string>) => () => inJob(env, () => {});
  t.throws(fails({ TSRUN_COST_MODEL: file }), hvd.UsageError);
  t.throws(fails({ TSRUN_COST_MODEL: file }), /reduceSecondsPerByte is -1/);
  t.throws(fails({ TSRUN_ALGORITHM: 'ring', HOROVOD_HIERARCHICAL_ALLREDUCE: '1' }), hvd.UsageError);
  t.throws(fails({ TSRUN_ALGORITHM: 'star' }), /TSRUN_ALGORITHM is 'star', but must be auto, ring/);
});

t.test('rank 0 alone may have a cost model; ranks that were told otherwise are named on every rank', async (t) => {
  const file = path.join(folder, 'cost-model.json');
  writeFileSync(file, '{"reduceSecondsPerByte": 1e-10}');
  inJob(rank === 0 ? { TSRUN_COST_MODEL: file } : {}, () => {
    t.same(hvd.allreduce(Float32Array.of(1, 2), { op: 'sum' }), Float32Array.of(size, 2 * size));
  });
  if (size === 1) return;
  const last = rank === size - 1;
  t.throws(() => inJob(last ? { TSRUN_ALGORITHM: 'tree' } : {}, () => {}), {
    name: 'RendezvousError',
    message: new RegExp(`^rank ${size - 1} \\(host .*\\) would choose among the algorithms tree, rank 0`),
  });
  t.throws(() => inJob(last ? { TSRUN_COST_MODEL: file } : {}, () => {}), /has another cost model than rank 0 .*, which has none/);
  t.throws(() => inJob(last ? { HOROVOD_FUSION_THRESHOLD: '0' } : {}, () => {}), {
    name: 'RendezvousError',
    message: new RegExp(`^HOROVOD_FUSION_THRESHOLD is 0 on rank ${size - 1} \\(host .*\\), but 134217728 on rank 0`),
  });
  t.throws(() => inJob(last ? { TSRUN_STRATEGY: 'ps-sync' } : {}, () => {}), {
    name: 'RendezvousError',
    message: new RegExp(`^TSRUN_STRATEGY is ps-sync on rank ${size - 1} .*, but ring on rank 0`),
  });
  const less: Record<string, string> =
    rank === 0 ? { HOROVOD_FUSION_THRESHOLD: '0', HOROVOD_CACHE_CAPACITY: '0', HOROVOD_CYCLE_TIME: '3' } : {};
  inJob(less, () => t.equal(hvd.allreduce(Int32Array.of(1), { op: 'sum' })[0], size, 'other differences do no harm'));
  inJob({}, () => t.equal(hvd.allreduce(Int32Array.of(1), { op: 'sum' })[0], size, 'the next job is as it should be'));
});
