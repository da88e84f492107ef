/** 8-bit integers with a scale a block: the kernels against plain arithmetic, the bound of what is lost, and what is not finite. */
import t from 'tap';
import { bytesOf, createMemory } from '../../../src/memory/arena';
import { type Floats, INT8_ROOM_BYTES, int8BytesOf, makeInt8Codec } from '../../../src/memory/int8';
import { BLOCK_ELEMS } from '../../../src/memory/int8_source';
import { makeKernels } from '../../../src/memory/kernels';
import { randomFrom } from '../collective/simulation';

const memory = createMemory(64);
memory.grow(31);
const AT = 65_536;
const codec = makeInt8Codec(memory, makeKernels(memory), AT);

/** Runs it, and counts how often it looked up. */
function turnsOf(work: Generator<void>): number {
  let turns = 0;
  while (!work.next().done) turns += 1;
  return turns;
}
const encoded = (values: Floats, residual: Float32Array): Uint8Array => {
  const bytes = new Uint8Array(int8BytesOf(values.length));
  turnsOf(codec.encode(values, residual, bytes));
  return bytes;
};
const decoded = (bytes: Uint8Array, elems: number): Float32Array => {
  const values = new Float32Array(elems).fill(7);
  turnsOf(codec.decode(values, bytes));
  return values;
};

const round = Math.fround;
/** Ties to even. */
const nearest = (x: number): number => {
  const below = Math.floor(x);
  const over = x - below;
  return over > 0.5 || (over === 0.5 && below % 2 !== 0) ? below + 1 : below;
};
/** Scale and codes of a block as float32 arithmetic has them. */
function blockOf(values: readonly number[]): { scale: number; codes: number[] } {
  const max = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (max < 2 ** -100) return { scale: 0, codes: values.map(() => 0) };
  const inverse = round(127 / max);
  return { scale: round(max / 127), codes: values.map((value) => nearest(round(value * inverse))) };
}

const randomValues = (elems: number, seed: number): Float32Array => {
  const random = randomFrom(seed);
  return new Float32Array(elems).map(() => (random() - 0.5) * 2 ** Math.floor(random() * 40 - 30));
};

t.test('codes, scales and residuals are those of plain arithmetic, to the bit, for any length', async (t) => {
  for (const elems of [0, 1, 255, 256, 257, 1000, 70_001]) {
    const values = randomValues(elems, elems + 1);
    const before = randomValues(elems, elems + 2).map((value) => value / 100);
    const residual = before.slice();
    const bytes = encoded(values, residual);
    const blocks = Math.ceil(elems / BLOCK_ELEMS);
    const scales = new Float32Array(bytes.slice(0, 4 * blocks).buffer);
    const codes = new Int8Array(bytes.slice(4 * blocks).buffer);
    let wrong = 0;
    for (let block = 0; block < blocks; block += 1) {
      const [from, until] = [block * BLOCK_ELEMS, Math.min(elems, (block + 1) * BLOCK_ELEMS)];
      const sums = Array.from(values.subarray(from, until), (value, i) => round(value + before[from + i]!));
      const expected = blockOf(sums);
      if (scales[block] !== expected.scale) wrong += 1;
      for (const [i, code] of expected.codes.entries()) {
        if (codes[from + i] !== code) wrong += 1;
        if (residual[from + i] !== round(sums[i]! - round(expected.scale * code))) wrong += 1;
        if (Math.abs(residual[from + i]!) > (expected.scale / 2) * (1 + 2 ** -15)) wrong += 1;
      }
    }
    t.equal(wrong, 0, `${elems} elements`);
    t.same(
      decoded(bytes, elems),
      values.map((_, i) => round(scales[Math.floor(i / BLOCK_ELEMS)]! * codes[i]!)),
      'decoded',
    );
    const sum = randomValues(elems, 5);
    const expected = sum.map((value, i) => value + round(scales[Math.floor(i / BLOCK_ELEMS)]! * codes[i]!));
    turnsOf(codec.add(sum, bytes));
    t.same(sum, expected, 'added');
    t.same(values, randomValues(elems, elems + 1), 'the values stay');
  }
});

t.test('float64 goes by way of float32', async (t) => {
  const values = Float64Array.from({ length: 300 }, (_, i) => Math.sin(i));
  const floats = Float32Array.from(values);
  t.same(encoded(values, new Float32Array(300)), encoded(floats, new Float32Array(300)));
  const wide = new Float64Array(300);
  turnsOf(codec.decode(wide, encoded(values, new Float32Array(300))));
  t.same([...wide], [...decoded(encoded(floats, new Float32Array(300)), 300)]);
});

t.test('a block that is not finite is NaN as a whole and leaves nothing behind; the others are as ever', async (t) => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    const values = randomValues(3 * BLOCK_ELEMS, 4);
    const plain = decoded(encoded(values, new Float32Array(values.length)), values.length);
    values[BLOCK_ELEMS + 77] = bad;
    const residual = new Float32Array(values.length).fill(1e-3, BLOCK_ELEMS, 2 * BLOCK_ELEMS);
    const result = decoded(encoded(values, residual), values.length);
    t.ok(result.subarray(BLOCK_ELEMS, 2 * BLOCK_ELEMS).every(Number.isNaN), `${bad}`);
    t.ok(residual.subarray(BLOCK_ELEMS, 2 * BLOCK_ELEMS).every((value) => value === 0));
    t.same(result.subarray(0, BLOCK_ELEMS), plain.subarray(0, BLOCK_ELEMS));
    t.same(result.subarray(2 * BLOCK_ELEMS), plain.subarray(2 * BLOCK_ELEMS));
  }
});

t.test('what is too small for a scale is kept; the largest floats are not too large', async (t) => {
  const small = new Float32Array(256).fill(2 ** -120);
  const residual = new Float32Array(256);
  t.ok(decoded(encoded(small, residual), 256).every((value) => value === 0));
  t.same(residual, small);
  const large = new Float32Array(256).fill(3.4e38);
  const lost = new Float32Array(256);
  const result = decoded(encoded(large, lost), 256);
  t.ok(result.every((value) => Math.abs(value / 3.4e38 - 1) < 1e-6) && lost.every(Number.isFinite));
});

t.test('long vectors look up in between, and nothing beside the room is touched', async (t) => {
  const values = new Float32Array(2_200_000).map((_, i) => (i % 127) - 63);
  const everything = bytesOf(memory, 0, AT + INT8_ROOM_BYTES + 64);
  everything.fill(0xa5, 0, AT);
  everything.fill(0xa5, AT + INT8_ROOM_BYTES);
  const bytes = new Uint8Array(int8BytesOf(values.length));
  t.equal(turnsOf(codec.encode(values, new Float32Array(values.length), bytes)), 2);
  t.ok(
    everything.subarray(0, AT).every((byte) => byte === 0xa5) && everything.subarray(AT + INT8_ROOM_BYTES).every((byte) => byte === 0xa5),
  );
  t.equal(bytes.length, values.length + 4 * Math.ceil(values.length / 256));
});
