/**
 * Whether one backend of TensorFlow.js can be used by a script in this folder: `node -e 'require(THIS FILE)' NAME` prints one line of JSON. A program of its own for each, since one process can
 * load one libtensorflow, and a library that crashes takes its process with it. Of `-e`, so that packages are found as a script in this folder finds them.
 */
import { writeLine } from './log';
import { whyMissing } from './tensorflow/backends/backend';
import { backends, selectBackend } from './tensorflow/backends/select';
import type { khorovod } from './wire/generated/messages';

async function check(name: string): Promise<khorovod.CheckedBackend.$Properties> {
  const backend = backends.find((one) => one.name === name)!;
  const missing = whyMissing(backend);
  if (missing) return { name, installed: false, problem: missing, install: backend.install };
  try {
    const { device } = await selectBackend(backend.name);
    return { name, installed: true, device };
  } catch (error) {
    return { name, installed: true, problem: (error as Error).message };
  }
}

check(process.argv[1]!).then(
  (checked) => process.stdout.write(`${JSON.stringify(checked)}\n`),
  (error: Error) => writeLine(error.stack ?? error.message),
);
