/**
 * Reads tensors of the WebGPU backend while the main thread blocks, which the backend can do with a browser's canvas only. Main thread.
 *
 * All that is read together is copied into one staging buffer, by one submission, and waited for once. Invariants: the wait has a deadline; a staging buffer goes back to the backend's own pool.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { NumericArray } from '../../../dtype';
import { pause } from '../../../engine/boundary';
import { BackendError } from '../../../errors';
import type { BulkReader } from '../../tensors';

/** A GPU that hangs is reset by its driver within seconds, which ends the wait; a software adapter may compile and compute for minutes. */
const READ_LIMIT_MS = 600_000;
/** Dawn asks for its events at every turn while something is under way. */
const SILENCE_LIMIT_MS = 5_000;
/** Most reads are done by then: sleeping would only add to them. */
const SPIN_MS = 0.3;
const MOST_PAUSE_MS = 1;
/** Staging memory is the host's, and is kept for the next step. */
const STAGING_BYTES = 64 * 2 ** 20;

// What of WebGPU (usages as the specification numbers them) and of the backend is used.
const MAP_READ = 0x1;
const COPY_DST = 0x8;
interface Buffer {
  readonly size: number;
  readonly mapState: 'unmapped' | 'pending' | 'mapped';
  mapAsync(mode: number): Promise<void>;
  getMappedRange(): ArrayBuffer;
  unmap(): void;
}
interface TensorData {
  values: NumericArray | null | undefined;
  readonly dtype: string;
  readonly resource?: Buffer;
}
export interface WebgpuBackend extends Partial<BulkReader> {
  readonly tensorMap: { get(dataId: object): TensorData };
  readonly bufferManager: { acquireBuffer(size: number, usage: number): Buffer; releaseBuffer(buffer: Buffer, reuse?: boolean): void };
  readonly commandEncoder: { copyBufferToBuffer(from: Buffer, at: number, to: Buffer, toAt: number, bytes: number): void };
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
  submitQueue(): void;
  readSync(dataId: object): unknown;
}

/** Something that runs Dawn's events. */
export interface Pump {
  runDue(): boolean;
}

/** Gives the backend a `readSync` that blocks, and `readAllSync`. @throws BackendError (both) the GPU is lost, or does not answer in time */
export function blockOnReads(backend: WebgpuBackend, pump: Pump): void {
  const readSync = backend.readSync.bind(backend);
  backend.readSync = (dataId) => {
    const data = backend.tensorMap.get(dataId);
    if (data.values || !data.resource || data.dtype === 'complex64') return readSync(dataId);
    const values = data.dtype === 'float32' ? new Float32Array(data.resource.size / 4) : new Int32Array(data.resource.size / 4);
    readTogether(backend, pump, [data.resource], [values]);
    // As the backend's own: what has been read once is not read again.
    data.values = data.dtype === 'bool' ? Uint8Array.from(values) : values;
    return data.values;
  };
  backend.readAllSync = (tensors, targets) => readAll(backend, pump, tensors, targets);
}

function readAll(backend: WebgpuBackend, pump: Pump, tensors: readonly tf.Tensor[], targets: readonly NumericArray[]): void {
  let buffers: Buffer[] = [];
  let into: NumericArray[] = [];
  let bytes = 0;
  const read = (): void => {
    if (buffers.length > 0) readTogether(backend, pump, buffers, into);
    [buffers, into, bytes] = [[], [], 0];
  };
  for (const [i, tensor] of tensors.entries()) {
    const { values, resource } = backend.tensorMap.get(tensor.dataId);
    if (values || !resource) {
      // Small ones stay on the CPU until a kernel needs them.
      copy((values ?? []) as NumericArray, targets[i]!);
      continue;
    }
    if (bytes + resource.size > STAGING_BYTES) read();
    buffers.push(resource);
    into.push(targets[i]!);
    bytes += resource.size;
  }
  read();
}

/** Values are 32 bits wide on the GPU, whatever their dtype. */
function readTogether(backend: WebgpuBackend, pump: Pump, buffers: readonly Buffer[], targets: readonly NumericArray[]): void {
  const bytes = buffers.reduce((sum, { size }) => sum + size, 0);
  const staging = backend.bufferManager.acquireBuffer(bytes, COPY_DST | MAP_READ);
  let isRead = false;
  try {
    backend.ensureCommandEncoderReady();
    backend.endComputePassEncoder();
    let at = 0;
    for (const buffer of buffers) {
      backend.commandEncoder.copyBufferToBuffer(buffer, 0, staging, at, buffer.size);
      at += buffer.size;
    }
    backend.submitQueue();
    awaitMapped(staging, pump);
    const range = staging.getMappedRange();
    at = 0;
    for (const [i, { size }] of buffers.entries()) {
      const target = targets[i]!;
      copy(target instanceof Float32Array ? new Float32Array(range, at, size / 4) : new Int32Array(range, at, size / 4), target);
      at += size;
    }
    staging.unmap();
    isRead = true;
  } finally {
    backend.bufferManager.releaseBuffer(staging, isRead);
  }
}

const copy = (from: NumericArray, to: NumericArray): void => (to as Float32Array).set(from as Float32Array);

function awaitMapped(staging: Buffer, pump: Pump): void {
  // The state tells; nobody awaits the promise.
  staging.mapAsync(MAP_READ).catch(() => {});
  const startedMs = performance.now();
  let heardMs = startedMs;
  while (staging.mapState === 'pending') {
    const nowMs = performance.now();
    if (pump.runDue()) heardMs = nowMs;
    else if (nowMs - heardMs > SILENCE_LIMIT_MS)
      throw new BackendError(
        `Dawn has not asked for its events for ${SILENCE_LIMIT_MS / 1000} s while the GPU was read: this version of the package webgpu works otherwise than those known. Run: npm install webgpu@0.6.2`,
      );
    if (nowMs - startedMs > READ_LIMIT_MS)
      throw new BackendError(
        `The GPU has not answered for ${READ_LIMIT_MS / 1000} s. Make the batches smaller, or take another backend (hvd.selectBackend('wasm')).`,
      );
    if (nowMs - startedMs > SPIN_MS) pause(Math.min(MOST_PAUSE_MS, (nowMs - startedMs) / 8));
  }
  if (staging.mapState !== 'mapped')
    throw new BackendError(
      "The GPU's memory could not be read: the device is lost (a driver reset, or a kernel that took too long), or its memory is full. Dawn's lines on stderr say which; " +
        'make the batches smaller if it is full, and start the job again.',
    );
}
