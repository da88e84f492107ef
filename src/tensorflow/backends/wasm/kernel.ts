/** What a kernel of the wasm backend is and works with, as far as ours need it (tfjs does not export these types). Main thread. */
import type * as tf from '@tensorflow/tfjs-core';
import type { Tf } from '../../load';

/** What a kernel is called with; tfjs types its arguments per kernel, and not all of them. */
export interface KernelCall {
  // biome-ignore lint/suspicious/noExplicitAny: tensors of each kernel's own names
  inputs: any;
  // biome-ignore lint/suspicious/noExplicitAny: attributes of each kernel's own kind
  attrs: any;
  backend: WasmBackend;
}
export interface WasmBackend {
  /** How many tensors' values lie in it. */
  numDataIds(): number;
  /** Emscripten's module. */
  readonly wasm: {
    _malloc(bytes: number): number;
    _free(address: number): void;
    /** What the compiled code exports: its memory, if it was not made elsewhere. */
    readonly asm?: { readonly memory?: WebAssembly.Memory };
    /** The memory of the threaded module. */
    readonly wasmMemory?: WebAssembly.Memory;
  };
  readonly dataIdMap: { get(dataId: object): { memoryOffset: number } };
  /** One more tensor has these data. */
  incRef(dataId: object): void;
  makeOutput(shape: number[], dtype: string): TensorInfo;
  typedArrayFromHeap(info: TensorInfo): Float32Array;
}
export interface TensorInfo {
  dataId: object;
  shape: number[];
  dtype: string;
}
export type Kernel = (call: KernelCall) => unknown;
/** Makes a kernel; `stock` is what the backend brought, if anything. */
export type KernelMaker = (tfjs: Tf, stock: Kernel | undefined) => Kernel;

/** What `makeOutput` gave, as a tensor: a tidy around it disposes of it. */
export function tensorOf(tfjs: Tf, info: unknown): tf.Tensor {
  return (tfjs.engine() as unknown as { makeTensorFromTensorInfo(info: unknown): tf.Tensor }).makeTensorFromTensorInfo(info);
}
