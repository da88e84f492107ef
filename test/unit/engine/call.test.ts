/** One call: when two are the same, its bytes, and what the coordinator refuses to read. */
import fc from 'fast-check';
import t from 'tap';
import { dtypes, isFloat } from '../../../src/dtype';
import {
  bytesOfCall,
  type Call,
  callFromRequest,
  callKey,
  callToRequest,
  isCompressible,
  isSameCall,
  kinds,
  reduceOps,
} from '../../../src/engine/call';
import type { CompressionText } from '../../../src/engine/compressor';
import { khorovod } from '../../../src/wire/generated/messages';
import { call } from './calls';

const overTheWire = (request: khorovod.IRequest): Call =>
  callFromRequest(khorovod.Request.decode(khorovod.Request.encode(request).finish()));

t.test('two calls are the same only if every field is', async (t) => {
  t.ok(isSameCall(call('a'), call('a')));
  const others: Array<Partial<Call>> = [
    { name: 'b' },
    { kind: 'broadcast' },
    { dtype: 'float64' },
    { parts: [[3, 2]] },
    { parts: [[2, 3, 1]] },
    { parts: [[2, 3], [1]] },
    { parts: [] },
    { op: 'max' },
    { prescale: 0.5 },
    { postscale: 0.5 },
    { root: 0 },
    { processSet: 1 },
    { grouped: true },
    { compression: 'bf16' },
    { splits: [1, 1] },
  ];
  for (const other of others) {
    t.notOk(isSameCall(call('a'), { ...call('a'), ...other }), JSON.stringify(other));
    t.notOk(isSameCall({ ...call('a'), ...other }, call('a')), JSON.stringify(other));
  }
  t.same(
    [...new Set(others.flatMap((other) => Object.keys(other)))].sort(),
    Object.keys(call('a'))
      .filter((field) => field !== 'timeoutMs')
      .sort(),
    'no field of a call is left out here',
  );
});

t.test('a name is unique within its process set only', async (t) => {
  t.not(callKey(call('a')), callKey(call('a', { processSet: 1 })));
  t.not(callKey(call('1:a')), callKey(call('a', { processSet: 1 })));
});

t.test('the bytes of a call are those of all its tensors', async (t) => {
  t.equal(bytesOfCall(call('a')), 24);
  t.equal(bytesOfCall(call('a', { dtype: 'int64', parts: [[], [3], [0, 7]], grouped: true })), 32);
  t.equal(bytesOfCall(call('a', { kind: 'barrier', parts: [] })), 0);
});

const shape = fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 5 });
const anyCall: fc.Arbitrary<Call> = fc
  .record({
    name: fc.string({ minLength: 1, maxLength: 30 }),
    kind: fc.constantFrom(...kinds),
    dtype: fc.constantFrom(...dtypes),
    shapes: fc.array(shape, { minLength: 1, maxLength: 4 }),
    op: fc.constantFrom(...reduceOps),
    prescale: fc.double({ noNaN: true, noDefaultInfinity: true }),
    postscale: fc.double({ noNaN: true, noDefaultInfinity: true }),
    root: fc.nat(1000),
    processSet: fc.nat(9),
    grouped: fc.boolean(),
    timeoutMs: fc.nat(1000),
    compression: fc.constantFrom<CompressionText>('none', 'fp16', 'bf16', 'int8', 'topK(0.01)', 'powerSGD(4)'),
    splits: fc.array(fc.nat(20), { minLength: 1, maxLength: 5 }),
  })
  .map(({ shapes, ...fields }) => {
    const { kind } = fields;
    const grouped = fields.grouped && (kind === 'allreduce' || kind === 'allgather' || kind === 'reducescatter');
    const hasRows = kind === 'allgather' || kind === 'alltoall' || kind === 'reducescatter';
    const splits = kind === 'alltoall' ? fields.splits : [];
    const rows = splits.reduce((sum, split) => sum + split, 0);
    const parts = (kind === 'barrier' || kind === 'join' ? [] : grouped ? shapes : shapes.slice(0, 1)).map((axes) => {
      if (kind === 'alltoall') return [rows, ...axes.slice(0, 4)];
      return hasRows && axes.length === 0 ? [1] : axes;
    });
    const isReduction = kind === 'allreduce' || kind === 'reducescatter';
    const dtype = isReduction && fields.dtype === 'bool' ? 'uint8' : fields.dtype;
    const isAllowed = kind === 'reducescatter' ? ['sum', 'average'].includes(fields.op) : kind === 'allreduce' && isFloat(dtype);
    const op = isAllowed || (kind !== 'reducescatter' && fields.op !== 'adasum') ? fields.op : 'sum';
    const compression = isCompressible({ kind, op }, fields.compression) && isFloat(dtype) ? fields.compression : ('none' as const);
    return { ...fields, dtype, op, grouped, parts, splits, compression, root: kind === 'broadcast' ? fields.root : -1 };
  });

t.test('a call comes back from the wire as it was', async (t) => {
  fc.assert(
    fc.property(anyCall, (one) => {
      const back = overTheWire(callToRequest(one));
      if (!isSameCall(one, back)) throw new Error(`${JSON.stringify(one)} came back as ${JSON.stringify(back)}`);
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('what no rank of this version sends is refused with a text that says what it is', async (t) => {
  const cases: Array<[Partial<Record<keyof Call, unknown>>, RegExp]> = [
    [{ name: '' }, /name of 0 characters/],
    [{ name: 'x'.repeat(1025) }, /name of 1025 characters/],
    [{ kind: 'scan' }, /collective 'scan'/],
    [{ dtype: 'float16' }, /dtype 'float16'/],
    [{ op: 'xor' }, /op 'xor'/],
    [{ op: 'adasum', dtype: 'int32' }, /adasum of int32 by allreduce/],
    [{ op: 'adasum', kind: 'reducescatter' }, /adasum of float32 by reducescatter/],
    [{ op: 'max', kind: 'reducescatter' }, /scatters a max/],
    [{ kind: 'reducescatter', dtype: 'bool' }, /cannot be reduced/],
    [{ kind: 'reducescatter', parts: [[]] }, /gives reducescatter a scalar/],
    [{ kind: 'alltoall' }, /gives alltoall 0 splits of 0 rows for a tensor of shape \[2,3\]/],
    [{ kind: 'alltoall', splits: [1, 2] }, /2 splits of 3 rows/],
    [{ kind: 'alltoall', parts: [[]], splits: [0] }, /gives alltoall a scalar/],
    [{ kind: 'alltoall', parts: [[2], [2]], splits: [2], grouped: true }, /grouped alltoall/],
    [{ splits: [2] }, /gives allreduce 1 splits/],
    [{ dtype: 'bool' }, /cannot be reduced/],
    [{ compression: 'zip' }, /compression 'zip'/],
    [{ compression: 'powerSGD(0)' }, /compression 'powerSGD\(0\)'/],
    [{ compression: 'topK(2)' }, /compression 'topK\(2\)'/],
    [{ compression: 'topK(0.010)' }, /compression 'topK\(0.010\)'/],
    [{ compression: 'int8', op: 'max' }, /compresses float32 of allreduce by max/],
    [{ compression: 'int8', kind: 'reducescatter' }, /compresses float32 of reducescatter by sum/],
    [{ compression: 'fp16', dtype: 'int32' }, /compresses int32 of allreduce by sum/],
    [{ compression: 'fp16', kind: 'broadcast', root: 0 }, /compresses float32 of broadcast by sum/],
    [{ prescale: Number.NaN }, /must be finite/],
    [{ postscale: Number.POSITIVE_INFINITY }, /must be finite/],
    [{ parts: [] }, /0 tensors for a single allreduce/],
    [{ parts: [[1], [2]] }, /2 tensors for a single allreduce/],
    [{ parts: [], grouped: true }, /0 tensors for a grouped allreduce/],
    [{ parts: Array(65537).fill([]), grouped: true }, /65537 tensors/],
    [{ parts: [Array(17).fill(1)] }, /17 axes/],
    [{ parts: [[2 ** 31, 2]] }, /announces 17179869184 bytes/],
    [{ parts: [Array(16).fill(2 ** 32 - 1)] }, /announces/],
    [{ kind: 'allgather', parts: [[]] }, /scalar/],
    [{ kind: 'broadcast', grouped: true, root: 0 }, /grouped broadcast/],
    [{ kind: 'broadcast', root: -1 }, /root rank -1/],
    [{ root: 2 }, /root rank 2 for allreduce/],
    [{ kind: 'barrier' }, /1 tensors for a single barrier/],
  ];
  for (const [fields, message] of cases) {
    const request = callToRequest({ ...call('x'), ...fields } as Call);
    t.throws(() => overTheWire(request), { code: 'ERR_HVD_WIRE', message }, JSON.stringify(fields).slice(0, 60));
  }
  t.throws(() => callFromRequest({}), { code: 'ERR_HVD_WIRE' }, 'nothing at all');
});

t.test('the text about a refused request holds no more than the beginning of what a stranger wrote', async (t) => {
  const error = t.throws(() => overTheWire(callToRequest(call('x'.repeat(1000), { kind: 'y'.repeat(1e5) as 'barrier' }))));
  t.ok((error as Error).message.length < 400);
});
