/** The 16-bit kernels against arithmetic in float64: every pattern decoded, and floats of all kinds encoded. */
import t from 'tap';
import { arrayTypeOf, type Dtype, type HalfFormat, halfFormats } from '../../../src/dtype';
import { BugError } from '../../../src/errors';
import { bytesOf, createMemory } from '../../../src/memory/arena';
import { kernelOps } from '../../../src/memory/kernel_source';
import { makeKernels } from '../../../src/memory/kernels';
import { randomFrom } from '../collective/simulation';

type Floats = Float32Array | Float64Array;
const floats = ['float32', 'float64'] as const;
const memory = createMemory(64);
memory.grow(31);
const kernels = makeKernels(memory);
const everything = new Uint8Array(memory.buffer);
/** Odd: nothing may rely on alignment. */
const [floatsAt, halvesAt] = [65_537, 1_100_001];
const GUARD = 0xa5;

/** Fraction bits, least and most exponent of a normal. */
const formats: Record<HalfFormat, { fraction: number; least: number; most: number; nan: number }> = {
  fp16: { fraction: 10, least: -14, most: 15, nan: 0x7e00 },
  bf16: { fraction: 7, least: -126, most: 127, nan: 0x7fc0 },
};

/** What a pattern means, as IEEE 754 says it. */
function meaning(format: HalfFormat, pattern: number): number {
  const { fraction, least } = formats[format];
  const exponent = (pattern & 0x7fff) >> fraction;
  const rest = pattern & (2 ** fraction - 1);
  const ones = 2 ** (15 - fraction) - 1;
  const sign = pattern & 0x8000 ? -1 : 1;
  if (exponent === ones) return rest ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * rest * 2 ** (least - fraction);
  return sign * (1 + rest / 2 ** fraction) * 2 ** (exponent - 1 + least);
}

/** The nearest value of the format; of two as near the one whose last bit is 0. By float64's exact division and floor, no bits of a float32. */
function nearest(format: HalfFormat, value: number): number {
  if (!Number.isFinite(value) || value === 0) return value;
  const { fraction, least, most } = formats[format];
  let exponent = least;
  while (exponent < 128 && Math.abs(value) >= 2 ** (exponent + 1)) exponent += 1;
  const unit = 2 ** (exponent - fraction);
  const [below, sign] = [Math.floor(Math.abs(value) / unit), Math.sign(value)];
  const over = Math.abs(value) / unit - below;
  const units = over > 0.5 || (over === 0.5 && below % 2 === 1) ? below + 1 : below;
  return sign * (units * unit >= 2 ** (most + 1) ? Number.POSITIVE_INFINITY : units * unit);
}

const place = (dtype: Dtype, values: readonly number[]): void => {
  const array = (arrayTypeOf(dtype) as unknown as { from(values: readonly number[]): Floats }).from(values);
  everything.set(new Uint8Array(array.buffer), floatsAt);
};
const placeHalves = (patterns: Uint16Array): void => everything.set(new Uint8Array(patterns.buffer), halvesAt);
const readFloats = (dtype: Dtype, elems: number): Floats => {
  const type = arrayTypeOf(dtype);
  return new type(everything.slice(floatsAt, floatsAt + elems * type.BYTES_PER_ELEMENT).buffer) as Floats;
};
const readHalves = (elems: number): Uint16Array => new Uint16Array(everything.slice(halvesAt, halvesAt + 2 * elems).buffer);

/** Both places, and what lies about them. */
const guard = (): void => {
  for (const at of [floatsAt, halvesAt]) everything.fill(GUARD, at - 64, at + 1024);
};

const bytesOfFloats = (values: Floats): Uint8Array => new Uint8Array(values.buffer);

const patterns = Uint16Array.from({ length: 65_536 }, (_, i) => i);
const float32Of = (bits: number): number => new Float32Array(Uint32Array.of(bits).buffer)[0]!;

for (const format of halfFormats)
  for (const dtype of floats) {
    const half = kernels.half(format, dtype);
    const { nan } = formats[format];

    t.test(`${format} to ${dtype}: all 65,536 patterns, and back again`, async (t) => {
      placeHalves(patterns);
      half.decode(floatsAt, halvesAt, patterns.length);
      const decoded = readFloats(dtype, patterns.length);
      t.equal(
        decoded.findIndex((value, pattern) => !Object.is(value, meaning(format, pattern))),
        -1,
      );
      half.encode(floatsAt, halvesAt, patterns.length);
      const readback = readHalves(patterns.length);
      const isRight = (pattern: number): boolean => readback[pattern] === (Number.isNaN(meaning(format, pattern)) ? nan : pattern);
      t.equal(
        patterns.findIndex((pattern) => !isRight(pattern)),
        -1,
      );
    });

    t.test(`${dtype} to ${format}: ties, neighbours of every value, denormals, infinities, NaN, random bits`, async (t) => {
      const values: number[] = [0, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 3.4028234663852886e38, 1e-45];
      for (const pattern of patterns.filter((each) => each < 0x8000 && Number.isFinite(meaning(format, each)))) {
        if (pattern % 3) continue;
        const middle = (meaning(format, pattern) + meaning(format, pattern + 1)) / 2;
        if (!Number.isFinite(Math.fround(middle))) continue;
        const bits = new Uint32Array(Float32Array.of(middle).buffer)[0]!;
        for (const near of [bits - 1, bits, bits + 1]) values.push(float32Of(near), -float32Of(near));
      }
      const random = randomFrom(5);
      for (let i = 0; i < 30_000; i += 1) values.push(float32Of(Math.floor(random() * 2 ** 32)));
      for (let i = 0; i < 30_000; i += 1) values.push(Math.fround((random() - 0.5) * 2 ** Math.floor(random() * 45 - 28)));
      place(dtype, values);
      half.encode(floatsAt, halvesAt, values.length);
      const encoded = readHalves(values.length);
      const expected = values.map((value) => nearest(format, value));
      t.equal(
        encoded.findIndex((pattern, i) => !Object.is(meaning(format, pattern), expected[i])),
        -1,
      );
      t.ok(
        encoded.every((pattern) => !Number.isNaN(meaning(format, pattern)) || pattern === nan),
        'there is one NaN',
      );
      const rounded = readFloats(dtype, values.length);
      t.ok(
        rounded.every((value, i) => Object.is(value, expected[i])),
        'who sends holds what is received',
      );
      place(dtype, values);
      half.round(floatsAt, values.length);
      t.equal(
        Buffer.compare(bytesOfFloats(readFloats(dtype, values.length)), bytesOfFloats(rounded)),
        0,
        'rounding alone gives those bits',
      );
    });

    t.test(`${dtype} and ${format}: every length, nothing beside it, reductions in ${dtype}`, async (t) => {
      const two = { sum: (a: number, b: number) => a + b, product: (a: number, b: number) => a * b, min: Math.min, max: Math.max };
      const round = dtype === 'float32' ? Math.fround : (value: number): number => value;
      const random = randomFrom(11);
      for (const elems of [0, 1, 2, 7, 8, 9, 15, 16, 17, 100]) {
        const own = Array.from({ length: elems }, () => Math.fround((random() - 0.5) * 100));
        const sent = Uint16Array.from({ length: elems }, () => Math.floor(random() * 65_536));
        for (const kernel of kernelOps) {
          guard();
          place(dtype, own);
          placeHalves(sent);
          half.reduce(kernel, floatsAt, halvesAt, elems);
          const expected = own.map((value, i) => round(two[kernel](value, meaning(format, sent[i]!))));
          t.ok(
            readFloats(dtype, elems).every((value, i) => Object.is(value, expected[i])),
            `${kernel} of ${elems}`,
          );
          t.same(readHalves(elems), sent);
        }
        const bytes = elems * arrayTypeOf(dtype).BYTES_PER_ELEMENT;
        for (const name of ['encode', 'decode', 'round'] as const) {
          guard();
          if (name === 'round') half.round(floatsAt, elems);
          else half[name](floatsAt, halvesAt, elems);
          const beside = [floatsAt - 64, floatsAt + bytes, halvesAt - 64, halvesAt + 2 * elems];
          t.ok(
            beside.every((at) => everything.subarray(at, at + 64).every((byte) => byte === GUARD)),
            `${name} of ${elems}`,
          );
        }
      }
    });
  }

t.test('ranges outside the memory and dtypes without a 16-bit form are refused', async (t) => {
  const end = memory.buffer.byteLength;
  const half = kernels.half('fp16', 'float32');
  t.throws(() => half.encode(end - 4, 0, 2), BugError);
  t.throws(() => half.decode(0, end - 2, 2), BugError);
  t.throws(() => half.round(-4, 1), BugError);
  t.throws(() => kernels.half('bf16', 'int32'), BugError);
  bytesOf(memory, end - 64, 64).fill(0);
  t.doesNotThrow(() => half.encode(0, end - 32, 16), 'the last bytes of the memory');
});
