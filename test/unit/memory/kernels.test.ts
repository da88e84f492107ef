/** Every kernel against a plain loop over the same bytes. */
import t from 'tap';
import { arrayTypeOf, bytesPerElem, type Dtype, dtypes, isFloat, type NumericArray } from '../../../src/dtype';
import { BugError } from '../../../src/errors';
import { bytesOf, createMemory } from '../../../src/memory/arena';
import { emitModule, op } from '../../../src/memory/emitter';
import { kernelOps, kernelSources } from '../../../src/memory/kernel_source';
import { type KernelOp, makeKernels } from '../../../src/memory/kernels';

type Num = number | bigint;
const reducible = dtypes.filter((dtype) => dtype !== 'bool');
const integers = reducible.filter((dtype) => !isFloat(dtype));
const counts = [0, 1, 2, 3, 7, 15, 16, 17, 31, 33, 64, 100, 1000];

const memory = createMemory(64);
memory.grow(1);
const kernels = makeKernels(memory);
const everything = new Uint8Array(memory.buffer);
const [targetAt, sourceAt] = [1024, 65536];

/** A copy of the elements, by plain bytes: what lies there need not be aligned. */
function read(dtype: Dtype, at: number, elems: number): Num[] {
  const type = arrayTypeOf(dtype);
  return [...new type(everything.slice(at, at + elems * type.BYTES_PER_ELEMENT).buffer)];
}

function arrayOf(dtype: Dtype, values: readonly Num[]): NumericArray {
  const array = new (arrayTypeOf(dtype))(values.length);
  for (const [index, value] of values.entries()) array[index] = value as never;
  return array;
}

function write(dtype: Dtype, at: number, values: readonly Num[]): void {
  const array = arrayOf(dtype, values);
  everything.set(new Uint8Array(array.buffer), at);
}

/** The same sequence every time; the whole range of the dtype, and its corners often. */
function values(dtype: Dtype, elems: number, seed: number): Num[] {
  let state = BigInt(seed) * 0x9e3779b97f4a7c15n;
  const next = (): bigint => {
    state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
    return state ^ (state >> 29n);
  };
  const bits = bytesPerElem(dtype) * 8;
  const corners: Num[] = isFloat(dtype)
    ? [0, -0, 1, -1, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-40, 3e38]
    : [0n, 1n, -1n, 2n ** BigInt(bits - 1), 2n ** BigInt(bits - 1) - 1n, -(2n ** BigInt(bits - 1))];
  const raw = Array.from({ length: elems }, () => {
    const random = next();
    if (random % 5n === 0n) return corners[Number((random >> 8n) % BigInt(corners.length))];
    return isFloat(dtype) ? Number(BigInt.asIntN(64, random)) / 2 ** 59 : random;
  });
  return isFloat(dtype) ? [...arrayOf(dtype, raw)] : raw.map((value) => wrapped(dtype, value as bigint));
}

/** An integer modulo 2^bits, as the dtype shows it. */
function wrapped(dtype: Dtype, value: bigint): Num {
  const bits = bytesPerElem(dtype) * 8;
  const fits = dtype.startsWith('u') ? BigInt.asUintN(bits, value) : BigInt.asIntN(bits, value);
  return bits === 64 ? fits : Number(fits);
}

function combined(dtype: Dtype, kernel: KernelOp, left: Num, right: Num): Num {
  if (!isFloat(dtype)) {
    const [a, b] = [BigInt(left), BigInt(right)];
    return wrapped(dtype, { sum: a + b, product: a * b, min: a < b ? a : b, max: a > b ? a : b }[kernel]);
  }
  const [a, b] = [left as number, right as number];
  const exact = { sum: a + b, product: a * b, min: Math.min(a, b), max: Math.max(a, b) }[kernel];
  return dtype === 'float32' ? Math.fround(exact) : exact;
}

const same = (left: readonly Num[], right: readonly Num[]): boolean =>
  left.length === right.length && left.every((value, index) => Object.is(value, right[index]));

/** Runs it and says which bytes outside the range it changed. */
function strayBytes(at: number, bytes: number, run: () => void): number[] {
  const before = everything.slice();
  run();
  const found: number[] = [];
  for (let index = 0; index < before.length; index += 1) {
    if (before[index] !== everything[index] && (index < at || index >= at + bytes)) found.push(index);
  }
  return found;
}

for (const dtype of reducible) {
  for (const kernel of kernelOps) {
    t.test(`${kernel} of ${dtype} equals a plain loop for every length and touches nothing beside it`, async (t) => {
      for (const [index, elems] of counts.entries()) {
        const width = bytesPerElem(dtype);
        const target = targetAt + width * (1 + (index % 5));
        const source = sourceAt + width * (3 + (index % 7));
        const [left, right] = [values(dtype, elems, index + 1), values(dtype, elems, index + 101)];
        everything.fill(0xa5, 0, sourceAt * 2);
        write(dtype, target, left);
        write(dtype, source, right);
        const stray = strayBytes(target, elems * width, () => kernels.reduce(dtype, kernel, target, source, elems));
        const expected = left.map((value, at) => combined(dtype, kernel, value, right[at]));
        t.ok(same(read(dtype, target, elems), expected), `${elems} elements`);
        t.same(stray, [], `${elems} elements: bytes around the range are untouched`);
      }
    });
  }
}

for (const dtype of reducible) {
  t.test(`operands of ${dtype} become their combination, all of them, and nothing beside them`, async (t) => {
    for (const kernel of kernelOps) {
      for (const [operands, elems] of [
        [2, 100],
        [2, 0],
        [3, 1],
        [3, 33],
        [4, 1000],
        [8, 67],
      ] as const) {
        const width = bytesPerElem(dtype);
        const targets = Array.from({ length: operands }, (_, operand) => targetAt + operand * 12_000 + 3 * operand);
        const inputs = targets.map((_, operand) => values(dtype, elems, 10 * operands + operand));
        everything.fill(0xa5);
        for (const [operand, target] of targets.entries()) write(dtype, target, inputs[operand]!);
        const before = everything.slice();
        const factor = 0.3;
        kernels.combine(dtype, kernel, targets, elems, factor);
        const sums = inputs.reduce((left, right) => left.map((value, at) => combined(dtype, kernel, value, right[at]!)));
        const own = dtype === 'float32' ? Math.fround(factor) : factor;
        const expected = isFloat(dtype)
          ? [
              ...arrayOf(
                dtype,
                sums.map((value) => (value as number) * own),
              ),
            ]
          : sums;
        for (const [operand, target] of targets.entries()) {
          t.ok(same(read(dtype, target, elems), expected), `${kernel}, ${operands} operands of ${elems} elements: operand ${operand}`);
          everything.set(before.subarray(target, target + elems * width), target);
        }
        t.equal(Buffer.compare(everything, before), 0, `${kernel}, ${operands} operands: bytes around them are untouched`);
      }
    }
  });
}

t.test('addresses need not be multiples of the element size', async (t) => {
  for (const dtype of reducible) {
    const [left, right] = [values(dtype, 33, 5), values(dtype, 33, 6)];
    write(dtype, targetAt + 1, left);
    write(dtype, sourceAt + 3, right);
    kernels.reduce(dtype, 'sum', targetAt + 1, sourceAt + 3, 33);
    t.ok(
      same(
        read(dtype, targetAt + 1, 33),
        left.map((value, at) => combined(dtype, 'sum', value, right[at])),
      ),
      dtype,
    );
  }
});

t.test('a range may be reduced with itself', async (t) => {
  write('int32', targetAt, [1, 2, 3, -4, 5]);
  kernels.reduce('int32', 'sum', targetAt, targetAt, 5);
  t.same(read('int32', targetAt, 5), [2, 4, 6, -8, 10]);
});

t.test('a float minimum or maximum with NaN is NaN, whichever side it stands on', async (t) => {
  for (const dtype of ['float32', 'float64'] as const) {
    for (const kernel of ['min', 'max'] as const) {
      for (const elems of [1, 20]) {
        for (const [left, right] of [
          [Number.NaN, 1],
          [1, Number.NaN],
        ]) {
          write(dtype, targetAt, Array(elems).fill(left));
          write(dtype, sourceAt, Array(elems).fill(right));
          kernels.reduce(dtype, kernel, targetAt, sourceAt, elems);
          t.ok(read(dtype, targetAt, elems).every(Number.isNaN), `${kernel} of ${dtype}, ${elems} elements`);
        }
      }
    }
  }
});

t.test('every product of two bytes is right', async (t) => {
  const all = Array.from({ length: 256 }, (_, index) => index);
  let wrong = 0;
  for (const factor of all) {
    write('uint8', targetAt, all);
    write('uint8', sourceAt, Array(256).fill(factor));
    kernels.reduce('uint8', 'product', targetAt, sourceAt, 256);
    wrong += read('uint8', targetAt, 256).filter((value, index) => value !== (index * factor) % 256).length;
  }
  t.equal(wrong, 0);
});

t.test('floats are scaled in their own type, for every length, and nothing beside them', async (t) => {
  for (const dtype of ['float32', 'float64'] as const) {
    const round = dtype === 'float32' ? Math.fround : (value: number): number => value;
    for (const [index, elems] of counts.entries()) {
      const at = targetAt + bytesPerElem(dtype) * (1 + (index % 3));
      const given = values(dtype, elems, index + 7) as number[];
      write(dtype, at, given);
      const stray = strayBytes(at, elems * bytesPerElem(dtype), () => kernels.scale(dtype, at, elems, 0.1));
      t.ok(
        same(
          read(dtype, at, elems),
          given.map((value) => round(value * round(0.1))),
        ),
        `${dtype}, ${elems} elements`,
      );
      t.same(stray, []);
      write(dtype, at, given);
      kernels.divide(dtype, at, elems, 3);
      t.ok(
        same(
          read(dtype, at, elems),
          given.map((value) => round(value * round(1 / 3))),
        ),
        `${dtype} by 3, ${elems} elements`,
      );
    }
  }
});

/** float64, times the factor, towards zero, into the range. */
function scaled(dtype: Dtype, value: Num, factor: number): Num {
  const bits = BigInt(bytesPerElem(dtype) * 8);
  const [least, most] = dtype.startsWith('u') ? [0n, 2n ** bits - 1n] : [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n];
  const product = Number(value) * factor;
  if (Number.isNaN(product)) return wrapped(dtype, 0n);
  const whole = product >= 2 ** 64 ? most : product <= -(2 ** 64) ? least : BigInt(Math.trunc(product));
  return wrapped(dtype, whole < least ? least : whole > most ? most : whole);
}

for (const dtype of integers) {
  t.test(`${dtype} is scaled in float64, towards zero, saturating, and divided exactly`, async (t) => {
    for (const [index, elems] of counts.entries()) {
      const width = bytesPerElem(dtype);
      const at = targetAt + width * (1 + (index % 5));
      const given = values(dtype, elems, index + 31);
      for (const factor of [0.5, -0.5, 1 / 3, 2, 1e30, -1e30, 0, 0.999, Number.NaN, Number.POSITIVE_INFINITY]) {
        write(dtype, at, given);
        const stray = strayBytes(at, elems * width, () => kernels.scale(dtype, at, elems, factor));
        t.ok(
          same(
            read(dtype, at, elems),
            given.map((value) => scaled(dtype, value, factor)),
          ),
          `${elems} elements times ${factor}`,
        );
        t.same(stray, []);
      }
      for (const divisor of [1, 2, 3, 7, 1000, 0x7fffffff]) {
        write(dtype, at, given);
        const stray = strayBytes(at, elems * width, () => kernels.divide(dtype, at, elems, divisor));
        t.ok(
          same(
            read(dtype, at, elems),
            given.map((value) => wrapped(dtype, BigInt(value) / BigInt(divisor))),
          ),
          `${elems} elements by ${divisor}`,
        );
        t.same(stray, []);
      }
    }
  });
}

t.test('scaling and dividing: the cases worth naming', async (t) => {
  const after = (dtype: Dtype, given: Num[], run: (at: number, elems: number) => void): Num[] => {
    write(dtype, targetAt, given);
    run(targetAt, given.length);
    return read(dtype, targetAt, given.length);
  };
  const scale = (dtype: Dtype, factor: number, ...given: Num[]): Num[] =>
    after(dtype, given, (at, elems) => kernels.scale(dtype, at, elems, factor));
  const divide = (dtype: Dtype, divisor: number, ...given: Num[]): Num[] =>
    after(dtype, given, (at, elems) => kernels.divide(dtype, at, elems, divisor));
  t.same(scale('int32', 0.5, 7, -7, 1, -1), [3, -3, 0, 0], 'towards zero');
  t.same(scale('int8', 3, 100, -100, 42), [127, -128, 126], 'saturates');
  t.same(scale('uint8', -1, 5, 0, 255), [0, 0, 0], 'unsigned saturates at zero');
  t.same(scale('uint32', 2, 0xffffffff, 1), [0xffffffff, 2]);
  t.same(scale('int64', 2, 2n ** 62n, -(2n ** 63n), 5n), [2n ** 63n - 1n, -(2n ** 63n), 10n]);
  t.same(scale('int64', 0.5, 2n ** 60n + 2n), [2n ** 59n], 'beyond 2^53 float64 rounds');
  t.same(scale('int64', 1, 2n ** 60n + 1n), [2n ** 60n + 1n], 'a factor of 1 changes nothing');
  t.same(scale('uint64', 0.5, 2n ** 64n - 1n), [2n ** 63n]);
  t.same(
    divide('int64', 3, 2n ** 62n + 1n, -(2n ** 62n) - 1n, -8n),
    [(2n ** 62n + 1n) / 3n, (-(2n ** 62n) - 1n) / 3n, -2n],
    'division is exact beyond 2^53',
  );
  t.same(divide('uint64', 3, 2n ** 64n - 1n), [(2n ** 64n - 1n) / 3n]);
  t.same(divide('int16', 2, -3, 3, -32768), [-1, 1, -16384]);
  t.same(divide('uint8', 300, 255, 3), [0, 0], 'a divisor larger than the dtype');
});

t.test('copy moves overlapping ranges as if through a buffer', async (t) => {
  const given = Array.from({ length: 100 }, (_, index) => index);
  write('uint8', targetAt, given);
  kernels.copy(targetAt + 10, targetAt, 100);
  t.same(read('uint8', targetAt + 10, 100), given);
  t.same(read('uint8', targetAt, 10), given.slice(0, 10));
});

t.test('ranges outside the memory, bool and senseless divisors are refused', async (t) => {
  const end = memory.buffer.byteLength;
  t.throws(() => kernels.reduce('float32', 'sum', end - 4, 0, 2), BugError);
  t.throws(() => kernels.reduce('float32', 'sum', 0, end, 1), BugError);
  t.throws(() => kernels.scale('int8', -1, 1, 2), BugError);
  t.throws(() => kernels.scale('int8', 0, Number.NaN, 2), BugError);
  t.throws(() => kernels.copy(end - 1, 0, 2), BugError);
  t.throws(() => kernels.reduce('bool', 'sum', 0, 64, 1), BugError);
  for (const divisor of [0, -1, 1.5, 2 ** 31, Number.NaN]) t.throws(() => kernels.divide('int32', 0, 1, divisor), BugError);
  t.throws(() => kernels.divide('float32', 0, 1, 0), BugError);
});

t.test('the last bytes of the memory can be reduced', async (t) => {
  const at = memory.buffer.byteLength - 100;
  bytesOf(memory, at, 100).fill(3);
  everything.fill(4, 0, 100);
  makeKernels(memory).reduce('uint8', 'product', at, 0, 100);
  t.ok(bytesOf(memory, at, 100).every((value) => value === 12));
});

t.test('the emitter makes valid modules and knows no instruction that does not exist', async (t) => {
  for (const dtype of reducible) t.doesNotThrow(() => new WebAssembly.Module(emitModule(kernelSources(dtype))), dtype);
  t.throws(() => op('i8x16.mul'), BugError);
});
