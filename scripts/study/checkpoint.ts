/**
 * What a run of one optimizer has on disk: `NAME.checkpoint` (weights, optimizer, epochs so far), from which it goes on, and `NAME.json`, for readers. Rank 0's main thread.
 *
 * Invariant: a file is whole or the one before (written beside it, synced, renamed), and the checkpoint is never behind the JSON: it is written first.
 */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { deserialize, serialize } from 'node:v8';
import * as tf from '@tensorflow/tfjs';

/** After one epoch. Losses are mean cross-entropies, accuracies shares of images (0 … 1), both without dropout and over all images, by the weights at the end of the epoch. */
export interface Epoch {
  /** From 1 on. */
  readonly epoch: number;
  readonly trainLoss: number;
  readonly trainAccuracy: number;
  readonly testLoss: number;
  readonly testAccuracy: number;
  /** Of the whole epoch. */
  readonly seconds: number;
  /** Of its training steps. */
  readonly trainSeconds: number;
}

export interface Settings {
  readonly epochs: number;
  readonly ranks: number;
  /** Of a rank. */
  readonly batchSize: number;
  readonly learningRate: number;
  readonly seed: number;
  readonly trainImages: number;
  readonly testImages: number;
  /** Of all pixels and labels. */
  readonly sha256: string;
}

/** `NAME.json`. Numbers that are not finite (training that diverged) are null there. */
export interface Result {
  readonly optimizer: string;
  readonly settings: Settings;
  /** Where the last part of it ran. */
  readonly machine: Readonly<Record<string, string | number>>;
  readonly epochs: readonly Epoch[];
}

interface SavedTensor {
  readonly name: string;
  readonly shape: number[];
  readonly dtype: tf.DataType;
  readonly values: Float32Array | Int32Array | Uint8Array;
}
interface Saved extends Result {
  readonly weights: readonly SavedTensor[];
  readonly optimizerWeights: readonly SavedTensor[];
}

/** It cannot be gone on from what is there; one line for the user. */
export class CheckpointError extends Error {}

const saved = ({ name, tensor }: { name: string; tensor: tf.Tensor }): SavedTensor => ({
  name,
  shape: tensor.shape,
  dtype: tensor.dtype,
  values: tensor.dataSync(),
});
const restored = ({ name, shape, dtype, values }: SavedTensor) => ({ name, tensor: tf.tensor(values, shape, dtype) });

function writeWhole(file: string, content: Uint8Array | string): void {
  const part = `${file}.part`;
  const opened = openSync(part, 'w');
  try {
    writeFileSync(opened, content);
    fsyncSync(opened);
  } finally {
    closeSync(opened);
  }
  renameSync(part, file);
}

export async function save(folder: string, result: Result, model: tf.LayersModel, optimizer: tf.Optimizer): Promise<void> {
  const weights = model.weights.map((weight) => saved({ name: weight.originalName, tensor: weight.read() }));
  const state = await optimizer.getWeights();
  const optimizerWeights = state.map(saved);
  // The count of iterations; the others are the optimizer's own.
  state[0]!.tensor.dispose();
  writeWhole(path.join(folder, `${result.optimizer}.checkpoint`), serialize({ ...result, weights, optimizerWeights } satisfies Saved));
  writeResult(folder, result);
}

export function writeResult(folder: string, result: Result): void {
  writeWhole(path.join(folder, `${result.optimizer}.json`), `${JSON.stringify(result, null, 1)}\n`);
}

/**
 * Gives model and optimizer what the checkpoint holds.
 * @returns the epochs so far; none: there is no checkpoint
 * @throws CheckpointError it is damaged, or was written by another backend, whose bits differ
 */
export async function restore(
  folder: string,
  name: string,
  backend: string,
  model: tf.LayersModel,
  optimizer: tf.Optimizer,
): Promise<readonly Epoch[]> {
  const file = path.join(folder, `${name}.checkpoint`);
  if (!existsSync(file)) return [];
  let found: Saved;
  try {
    found = deserialize(readFileSync(file)) as Saved;
    tf.tidy(() => model.setWeights(found.weights.map((weight) => restored(weight).tensor)));
    await optimizer.setWeights(found.optimizerWeights.map(restored));
  } catch (error) {
    throw new CheckpointError(`${file} is damaged (${(error as Error).message}): remove it to start ${name} anew`);
  }
  if (found.machine.backend !== backend)
    throw new CheckpointError(
      `${file} was written on the backend ${found.machine.backend}, but this is ${backend}: go on with TSRUN_BACKEND=${found.machine.backend}, or give another folder by --out`,
    );
  return found.epochs;
}
