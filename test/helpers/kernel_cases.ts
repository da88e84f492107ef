/** Compares what the wasm backend computes with what TensorFlow.js's own cpu backend does; on one thread, unless the environment says otherwise. */
import * as tf from '@tensorflow/tfjs';
import type { Test } from 'tap';
import * as hvd from '../../src/index';

process.env.TSRUN_THREADS_PER_PROCESS ??= '1';

export type Results = Record<string, tf.Tensor>;
export interface Case {
  readonly title: string;
  /** Makes its inputs by itself: the same on both backends. */
  readonly compute: () => Results;
}

/** Numbers between −1 and 1 that repeat in no pattern of a shape. */
export function values(shape: number[], seed: number): tf.Tensor {
  const elems = shape.reduce((product, axis) => product * axis, 1);
  return tf.tensor(
    Float32Array.from({ length: elems }, (_, i) => Math.sin((i + 1) * 12.9898 + seed * 78.233)),
    shape,
  );
}

export const gradientsOf = (f: (...inputs: tf.Tensor[]) => tf.Tensor, inputs: tf.Tensor[]): Results => {
  const output = tf.tidy(() => f(...inputs).shape);
  const gradients = tf.grads(f as never)(inputs, values(output, 9));
  return Object.fromEntries(gradients.map((gradient, i) => [`gradient of input ${i}`, gradient]));
};

/** Computes all on cpu, then all on wasm (twice: the second time no tensor may be left), and compares. */
export async function compare(t: Test, cases: Case[], tolerance = 2e-5): Promise<void> {
  const expected: Array<Record<string, Float32Array>> = [];
  await tf.setBackend('cpu');
  const read = (results: Results) =>
    Object.fromEntries(Object.entries(results).map(([name, one]) => [name, one.dataSync() as Float32Array]));
  for (const { compute } of cases) expected.push(tf.tidy(() => read(compute())));
  await hvd.selectBackend('wasm');
  for (const [i, { title, compute }] of cases.entries()) {
    const results = tf.tidy(() => read(compute()));
    const before = tf.memory().numTensors;
    const idsBefore = tf.memory().numDataBuffers;
    tf.tidy(() => {
      compute();
    });
    if (tf.memory().numTensors !== before || tf.memory().numDataBuffers !== idsBefore) t.fail(`${title}: tensors are left behind`);
    for (const [name, values] of Object.entries(expected[i]!)) {
      const found = results[name]!;
      let worst = found.length === values.length ? 0 : Number.POSITIVE_INFINITY;
      for (const [k, value] of values.entries())
        worst = Math.max(
          worst,
          Number.isNaN(found[k]) ? Number.POSITIVE_INFINITY : Math.abs(value - found[k]!) / Math.max(1, Math.abs(value)),
        );
      if (!(worst <= tolerance)) t.fail(`${title}: ${name} is off by ${worst}`);
    }
  }
  t.pass(`${cases.length} cases`);
}
