/**
 * A program of its own: `node try_tfjs_node.js PROJECT PACKAGE` loads tfjs-node as a script of the project would, adds and multiplies on it, and prints what it is as JSON.
 * An exit code other than 0: it does not work.
 */
import { createRequire } from 'node:module';
import path from 'node:path';
import type { Tf } from '../../load';
import { shimNodeUtil } from './node_shim';

const [project = '.', name = '@tensorflow/tfjs-node'] = process.argv.slice(2);
shimNodeUtil();
const tf = createRequire(path.resolve(project, 'package.json'))(name) as Tf;
const matrix = tf.tensor2d([1, 2, 3, 4], [2, 2]);
const found = [tf.add(matrix, matrix), tf.matMul(matrix, matrix)].map((tensor) => [...tensor.dataSync()].join());
if (found.join(' ') !== '2,4,6,8 7,10,15,22')
  throw new Error(`[[1, 2], [3, 4]] plus and times itself gave ${found.join(' and ')} instead of 2,4,6,8 and 7,10,15,22`);
const backend = tf.backend() as unknown as { binding: { TF_Version: string }; isUsingGpuDevice: boolean };
process.stdout.write(`${JSON.stringify({ tensorflow: backend.binding.TF_Version, isGpu: backend.isUsingGpuDevice })}\n`);
