/**
 * Layers whose gradients stay on their rank (model parallelism, layers of a rank's own). Main thread.
 *
 * Which variables they have is asked in every step: a layer may be built after it was named. Gradients keep their positions, by which TensorFlow.js's optimizers find their slots.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { layers } from '@tensorflow/tfjs-layers';
import { UsageError } from '../errors';
import type { Tf } from './load';
import type { Named } from './local_aggregation';
import type { LayerVariable } from './variables';

/** Of a layer of any copy of TensorFlow.js. */
interface WithWeights {
  readonly weights: readonly LayerVariable[];
}

/** @throws UsageError it is no list of layers */
export function checkedLayers(localLayers: unknown, what: string): readonly layers.Layer[] {
  if (!Array.isArray(localLayers)) throw new UsageError(`${what}: localLayers is a list of layers, but was ${typeof localLayers}.`);
  for (const [i, layer] of localLayers.entries()) {
    if (typeof layer?.getClassName !== 'function' || !Array.isArray((layer as WithWeights).weights))
      throw new UsageError(`${what}: localLayers holds layers of a model, but entry ${i} is ${layer === null ? 'null' : typeof layer}.`);
  }
  return [...localLayers];
}

export class LocalLayers {
  /** By name gradients come in any order, and only those there are: each keeps the place at which it was first seen. */
  private readonly order: string[] = [];

  constructor(
    private readonly tfjs: Tf,
    private readonly layers: readonly layers.Layer[],
    private readonly isScaled: boolean,
  ) {}

  /**
   * @param reduce what is done with the gradients of all other variables; gives new tensors
   * @param ranks what local gradients are divided by
   * @returns new tensors: reduced ones, and local ones in their places
   */
  around(entries: readonly Named[], isList: boolean, ranks: number, reduce: (shared: readonly Named[]) => Named[]): Named[] {
    const names = new Set(this.layers.flatMap(({ weights }) => weights.map((one) => (one.read() as tf.Variable).name)));
    const reduced = reduce(entries.filter(({ name }) => !names.has(name)));
    const local = entries
      .filter(({ name }) => names.has(name))
      .map(({ name, tensor }) => ({ name, tensor: tensor && this.tfjs.tidy(() => this.tfjs.keep(this.share(tensor, ranks))) }));
    const all = new Map([...reduced, ...local].map((one) => [one.name, one]));
    if (isList) return entries.map(({ name }) => all.get(name)!);
    for (const name of all.keys()) if (!this.order.includes(name)) this.order.push(name);
    return this.order.map((name) => all.get(name) ?? { name, tensor: null });
  }

  private share(tensor: tf.Tensor, ranks: number): tf.Tensor {
    return this.isScaled ? this.tfjs.div(tensor, ranks) : this.tfjs.clone(tensor);
  }
}
