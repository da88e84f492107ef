/** A device without memory left says so in the words of its library; here with what mends it. Main thread. */
import { BackendError } from '../../errors';
import type { Tf } from '../load';

/** TensorFlow's status, CUDA's, Dawn's, Emscripten's. */
const signs = [/OOM when allocating/, /RESOURCE_EXHAUSTED/i, /out of memory/i, /cannot enlarge memory/i];

/** Does what is a step's, or a part of one. @throws BackendError the device has no memory left; what `act` throws */
export function sayingWhatLacksMemory<R>(tfjs: Tf, act: () => R): R {
  try {
    return act();
  } catch (error) {
    throw explained(error, tfjs.getBackend());
  }
}

/** The error itself, unless it is one of memory. */
export function explained(error: unknown, backend: string): unknown {
  const { message = '' } = (error ?? {}) as { message?: string };
  const line = message.split('\n').find((one) => signs.some((sign) => sign.test(one)));
  if (line === undefined || error instanceof BackendError) return error;
  const place = backend === 'tensorflow' ? 'on its device, a GPU or the host' : backend === 'webgpu' ? 'on its GPU' : 'in its heap';
  return new BackendError(
    `The backend '${backend}' has no memory left ${place}: ${line.trim()}. ` +
      'Give each rank a smaller batch, or an optimizer with fewer slots; nvidia-smi shows what else is on a GPU, where each rank should have its own (tsrun --gpus-per-process).',
    { cause: error },
  );
}
