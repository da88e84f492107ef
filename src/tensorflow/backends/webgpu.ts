/** WebGPU by way of Dawn. Main thread. */
import { BackendError } from '../../errors';
import type { Backend } from './backend';

export const webgpu: Backend = {
  name: 'webgpu',
  packages: ['webgpu', '@tensorflow/tfjs-backend-webgpu'],
  install: 'npm install webgpu @tensorflow/tfjs-backend-webgpu',
  start: async () => {
    throw new BackendError('not yet');
  },
};
