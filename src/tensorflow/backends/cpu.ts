/** TensorFlow.js's own backend, plain JavaScript: always there, and slow. Main thread. */
import { type Backend, use } from './backend';

export const cpu: Backend = {
  name: 'cpu',
  packages: ['@tensorflow/tfjs'],
  install: 'npm install @tensorflow/tfjs',
  start: async (tfjs) => {
    await use(tfjs, 'cpu');
    return 'CPU (JavaScript)';
  },
};
