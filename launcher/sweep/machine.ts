/** What a sweep says of the machine that it ran on. tsrun's process. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { version } from '../../src/version';
import type { Value } from './records';

/** Of the machine of tsrun; other hosts are in the sweep's host list. */
/** @param project where the ranks' TensorFlow.js is looked for */
export function machineFacts(project: string): Record<string, Value> {
  const cpus = os.cpus();
  return {
    host: os.hostname(),
    processor: cpus[0]?.model.trim() || 'unknown',
    processors: os.availableParallelism(),
    memoryGiB: Math.round((os.totalmem() / 2 ** 30) * 10) / 10,
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
    khorovod: version,
    tensorflowJs: tensorflowOf(project),
  };
}

function tensorflowOf(project: string): string {
  try {
    const file = createRequire(path.join(project, 'package.json')).resolve('@tensorflow/tfjs/package.json');
    return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  } catch {
    return 'not found';
  }
}

/** Which facts of two sessions differ: samples of both are not of one machine. */
export function changesOf(was: Readonly<Record<string, Value>>, now: Readonly<Record<string, Value>>): string[] {
  return Object.keys(now).flatMap((name) => (was[name] === now[name] ? [] : [`${name} was ${was[name]}, now is ${now[name]}`]));
}
