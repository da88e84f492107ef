/**
 * Loaded before a program (`node --require`): when it ends, a file `weights-RANK` in the folder WEIGHTS_AT_EXIT holds a checksum of all its TensorFlow.js variables, those of optimizers too,
 * and says how many there are. So tests see whether replicas are equal without the program's doing anything for it. Processes that are no ranks, or load no TensorFlow.js, write nothing.
 */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type * as tf from '@tensorflow/tfjs-core';

interface Engine {
  registeredVariables: Record<string, tf.Variable>;
}

const { WEIGHTS_AT_EXIT: folder, HOROVOD_RANK: rank } = process.env;
if (folder && rank)
  process.on('exit', () => {
    const loaded = Object.keys(require.cache).find((file) => /tfjs-core[/\\]dist[/\\]tf-core/.test(file));
    if (!loaded) return;
    const { engine } = require.cache[loaded]!.exports as { engine(): Engine };
    const variables = Object.values(engine().registeredVariables).filter((variable) => !variable.isDisposed);
    const sum = createHash('sha256');
    for (const variable of variables) sum.update(`${variable.shape.join()};`).update(new Uint8Array(variable.dataSync().slice().buffer));
    writeFileSync(path.join(folder, `weights-${rank}`), `${variables.length} variables ${sum.digest('hex')}`);
  });
