/**
 * The forms in which a collective is called: on typed arrays, out of place; in place on arrays from `allocate`, where the API has it; on tensors. Main thread, every rank.
 *
 * A form is so many calls that are under way together (one, unless their order is measured), each with memory of its own that is given back by `dispose`.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { arrayTypeOf, type NumericArray } from '../dtype';
import * as hvd from '../index';
import type { Collective, CollectiveArgs } from './collective_args';
import { CALLS_IN_FLIGHT } from './collective_args';
import type { Layout } from './layout';
import { fillWith, type Tile, tileOfRank } from './pattern';

/** With values, as they lie in one call: the parts of a group, else one. */
type Values = hvd.Value[];
export type Measured = Exclude<Collective, 'barrier'>;
export type Tensors = typeof import('@tensorflow/tfjs');

export interface Form {
  readonly name: FormName;
  /** For each call that is under way, which element of the tile its contribution begins with. */
  readonly phases: readonly number[];
  /** Makes the contribution anew; `zeros`: for calls in place that follow one another, so that sums stay finite. */
  fill(what: 'pattern' | 'zeros'): void;
  /** What is timed: results for each call, and in it for each part. */
  step(): Values[];
  /** The elements of a result. */
  elemsOf(result: hvd.Value): NumericArray;
  /** Gives results back that nobody asks for any longer. */
  drop(results: readonly Values[]): void;
  dispose(): void;
}
export type FormName = 'out-of-place' | 'in-place' | 'tensor';

export const hasInPlace = (collective: Collective): boolean => collective === 'allreduce' || collective === 'grouped-allreduce';

export function formNames({ collective, hasTensors }: CollectiveArgs): FormName[] {
  return ['out-of-place', ...(hasInPlace(collective) ? (['in-place'] as const) : []), ...(hasTensors ? (['tensor'] as const) : [])];
}

/** A call of the collective: at once, and without waiting. */
interface Call {
  now(): Values;
  /** @returns what waits for it */
  later(): () => Values;
}

function callOf(collective: Measured, values: Values, options: hvd.ReduceOptions & { name: string }): Call {
  const { name } = options;
  const [first] = values as [hvd.Value];
  const one = (now: () => hvd.Value, later: () => hvd.Handle<hvd.Value>): Call => ({
    now: () => [now()],
    later: () => {
      const handle = later();
      return () => [hvd.synchronize(handle)];
    },
  });
  switch (collective) {
    case 'allreduce':
      return one(
        () => hvd.allreduce(first, options),
        () => hvd.allreduceAsync(first, options),
      );
    case 'reducescatter':
      return one(
        () => hvd.reducescatter(first, options),
        () => hvd.reducescatterAsync(first, options),
      );
    case 'allgather':
      return one(
        () => hvd.allgather(first, { name }),
        () => hvd.allgatherAsync(first, { name }),
      );
    case 'broadcast':
      return one(
        () => hvd.broadcast(first, 0, { name }),
        () => hvd.broadcastAsync(first, 0, { name }),
      );
    case 'alltoall':
      return {
        now: () => [hvd.alltoall(first, null, { name }).output],
        later: () => {
          const handle = hvd.alltoallAsync(first, null, { name });
          return () => [hvd.synchronize(handle).output];
        },
      };
    case 'grouped-allreduce':
      return {
        now: () => hvd.groupedAllreduce(values, options),
        later: () => {
          const handle = hvd.groupedAllreduceAsync(values, options);
          return () => hvd.synchronize(handle);
        },
      };
  }
}

/** Calls that are under way together begin with elements of their own, so that a mix-up is seen. */
const PHASE_STEP = 31;

export function makeForm(
  name: FormName,
  args: CollectiveArgs & { collective: Measured },
  { inputs }: Layout,
  compression: hvd.Compressor,
  tensors: Tensors | undefined,
): Form {
  const { collective, dtype, op, order } = args;
  const count = order === 'single' ? 1 : CALLS_IN_FLIGHT;
  const phases = Array.from({ length: count }, (_, call) => call * PHASE_STEP);
  const tile = tileOfRank(hvd.rank(), dtype, op);
  const values = phases.map((phase) =>
    inputs.map((elems, part) => memoryOf(name, { elems, from: phase + part * elems }, args, tile, tensors)),
  );
  const options = op ? { op, compression, ...(name === 'in-place' ? { inPlace: true } : {}) } : {};
  const started = (call: number): Call =>
    callOf(
      collective,
      values[call]!.map(({ value }) => value()),
      { ...options, name: `bench.${call}` },
    );
  // Ranks begin elsewhere in the same circle.
  const from = order === 'out-of-order' ? hvd.rank() : 0;
  const turns = phases.map((_, i) => (from + i) % count);
  return {
    name,
    phases,
    fill: (what) => {
      for (const memory of values.flat()) memory.fill(what);
    },
    step: () => {
      if (order === 'single') return [started(0).now()];
      const waits: Array<() => Values> = [];
      for (const call of turns) waits[call] = started(call).later();
      return waits.map((wait) => wait());
    },
    elemsOf: (result) => (ArrayBuffer.isView(result) ? (result as NumericArray) : ((result as tf.Tensor).dataSync() as NumericArray)),
    drop: (results) => {
      if (name === 'tensor') for (const result of results.flat()) (result as tf.Tensor).dispose();
    },
    dispose: () => {
      for (const memory of values.flat()) memory.dispose();
    },
  };
}

interface Memory {
  value(): hvd.Value;
  fill(what: 'pattern' | 'zeros'): void;
  dispose(): void;
}

function memoryOf(
  name: FormName,
  { elems, from }: { elems: number; from: number },
  { dtype }: CollectiveArgs,
  tile: Tile,
  tensors: Tensors | undefined,
): Memory {
  const type = arrayTypeOf(dtype) as unknown as new (elems: number) => Float32Array;
  const fill = (array: NumericArray, what: 'pattern' | 'zeros'): void => {
    if (what === 'pattern') fillWith(array, tile, from);
    else new Uint8Array(array.buffer, array.byteOffset, array.byteLength).fill(0);
  };
  if (name === 'tensor') {
    let tensor: tf.Tensor | undefined;
    return {
      value: () => tensor!,
      fill: (what) => {
        tensor?.dispose();
        const array = new type(elems);
        fill(array, what);
        tensor = tensors!.tensor1d(array, dtype as 'float32');
      },
      dispose: () => tensor?.dispose(),
    };
  }
  const array = name === 'in-place' ? hvd.allocate(type, elems) : new type(elems);
  return {
    value: () => array,
    fill: (what) => fill(array, what),
    dispose: () => {
      if (name === 'in-place') hvd.release(array);
    },
  };
}
