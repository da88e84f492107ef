/**
 * Products of matrices on the wasm backend, as training needs them. Main thread.
 *
 * XNNPACK sorts the second factor as it does weights, each time anew when that is a gradient or weights that a step has changed, and the stock kernel sends a transposed factor into a naive loop. So
 * where few rows meet a big matrix, as in dense layers, our own kernels read that matrix where it lies (simd/matmul_source.ts); elsewhere a transposed factor is transposed beforehand. A transposed first factor, as in the gradient of weights, makes no difference to XNNPACK once it is.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { elemsOf } from '../../../dtype';
import type { Tf } from '../../load';
import { type Kernel, type KernelCall, type KernelMaker, type TensorInfo, tensorOf, type WasmBackend } from './kernel';
import { FLOAT_BYTES } from './simd/floats';
import { addressesOf, heapFunctions } from './simd/heap';
import { type MatMulName, matMulSources } from './simd/matmul_source';
import { divide } from './simd/thread_pool';
import { isProductDivided, productUnits } from './simd/transposed_product';

/** Up to 128 rows of a matrix of 1024×1024 our kernels, of one thread, are the faster ones; XNNPACK may have two. */
const MOST_ROWS = 64;
/** Columns that are taken at a time: four rows' parts of them lie in the first-level cache. */
const BLOCK_COLUMNS = 512;
const functionsOf = heapFunctions<MatMulName>(matMulSources);

/** a [rows, depth] and b [depth, columns], or turned: one matrix each. */
interface Product {
  readonly transposeB: boolean;
  readonly rows: number;
  readonly depth: number;
  readonly columns: number;
}

/** Undefined where the product is left to XNNPACK. */
export function smallProductOf(
  aShape: readonly number[],
  bShape: readonly number[],
  transposeA: boolean,
  transposeB: boolean,
): Product | undefined {
  const isOneMatrix = [aShape, bShape].every((shape) => elemsOf(shape.slice(0, -2)) === 1);
  const [rows, depth] = aShape.slice(-2) as [number, number];
  if (!isOneMatrix || transposeA || rows > MOST_ROWS) return undefined;
  const columns = bShape.at(transposeB ? -2 : -1)!;
  return { transposeB, rows, depth, columns };
}

function multiply(backend: WasmBackend, product: Product, a: TensorInfo, b: TensorInfo, output: TensorInfo): void {
  const { transposeB, rows, depth, columns } = product;
  const [aAt, bAt, cAt] = addressesOf(backend, a, b, output);
  if (transposeB) {
    const words = { c: cAt, a: aAt, b: bAt, rows, depth, columns };
    divide(backend, 'transposedProduct', productUnits(columns), words, isProductDivided(rows, depth, columns));
    return;
  }
  const functions = functionsOf(backend);
  const rowBytes = columns * FLOAT_BYTES;
  const depthBytes = depth * FLOAT_BYTES;
  functions.clear(cAt, rows * rowBytes);
  for (let first = 0; first < columns; first += BLOCK_COLUMNS) {
    const [offset, width] = [first * FLOAT_BYTES, Math.min(BLOCK_COLUMNS, columns - first)];
    for (let k = 0; k < depth; ) {
      const add = depth - k >= 4 ? functions.addFourRows : functions.addRow;
      add(cAt + offset, rowBytes, aAt + k * FLOAT_BYTES, depthBytes, bAt + k * rowBytes + offset, rowBytes, rows, width);
      k += add === functions.addFourRows ? 4 : 1;
    }
  }
}

/** The result's shape, of factors whose leading axes are all 1 or missing. */
const shapeOf = (a: TensorInfo, b: TensorInfo, { rows, columns }: Product): number[] => [
  ...(a.shape.length > b.shape.length ? a.shape : b.shape).slice(0, -2),
  rows,
  columns,
];

function withoutTransposes(tfjs: Tf, stock: Kernel, call: KernelCall): tf.Tensor {
  const { a, b } = call.inputs as { a: tf.Tensor; b: tf.Tensor };
  const { transposeA, transposeB } = call.attrs as { transposeA: boolean; transposeB: boolean };
  const transposed = (x: tf.Tensor, is: boolean): tf.Tensor => {
    const axes = Array.from({ length: x.shape.length }, (_, axis) => axis);
    const last = axes.length - 1;
    return is ? tfjs.transpose(x, [...axes.slice(0, -2), last, last - 1]) : x;
  };
  return tfjs.tidy(() => {
    const inputs = { ...call.inputs, a: transposed(a, transposeA), b: transposed(b, transposeB) };
    return tensorOf(tfjs, stock({ ...call, inputs, attrs: { ...call.attrs, transposeA: false, transposeB: false } }));
  });
}

const productOf = (call: KernelCall): Product | undefined => {
  const { a, b } = call.inputs as { a: TensorInfo; b: TensorInfo };
  if (a.dtype !== 'float32' || b.dtype !== 'float32') return undefined;
  return smallProductOf(a.shape, b.shape, call.attrs.transposeA, call.attrs.transposeB);
};

export const batchMatMul: KernelMaker = (tfjs: Tf, stock): Kernel => {
  return (call) => {
    const { a, b } = call.inputs as { a: TensorInfo; b: TensorInfo };
    const product = productOf(call);
    if (product) {
      const output = call.backend.makeOutput(shapeOf(a, b, product), 'float32');
      multiply(call.backend, product, a, b, output);
      return output;
    }
    return call.attrs.transposeA || call.attrs.transposeB ? withoutTransposes(tfjs, stock!, call) : stock!(call);
  };
};

/** With a bias and without an activation, as in a last layer, the product is ours as well. The stock kernel adds the bias several times where a factor is transposed. */
export const fusedMatMul: KernelMaker = (tfjs: Tf, stock): Kernel => {
  return (call) => {
    const { a, b, bias } = call.inputs as { a: tf.Tensor; b: tf.Tensor; bias?: tf.Tensor };
    const product = call.attrs.activation === 'linear' ? productOf(call) : undefined;
    if (product)
      return tfjs.tidy(() => {
        const output = call.backend.makeOutput(shapeOf(a as never, b as never, product), 'float32');
        multiply(call.backend, product, a as never, b as never, output);
        const whole = tensorOf(tfjs, output);
        return bias ? tfjs.add(whole, bias) : whole;
      });
    return call.attrs.transposeA || call.attrs.transposeB ? withoutTransposes(tfjs, stock!, call) : stock!(call);
  };
};
