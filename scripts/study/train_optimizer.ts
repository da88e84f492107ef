/**
 * Trains the study's network by one optimizer and records every epoch: what scripts/study/optimizers.mjs has tsrun start on each rank, with a JSON of `Job` as its argument.
 */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs';
import * as hvd from 'khorovod';
import { Progress } from '../../examples/cifar10/progress';
import { CheckpointError, type Result, type Settings, save, writeResult } from './checkpoint';
import { DataError, identityOf, studyData } from './data';
import { begin, evaluate, trainEpoch } from './training';

interface Job {
  readonly optimizer: string;
  readonly settings: Settings;
  /** The last epoch for now. */
  readonly until: number;
  /** Folder of CIFAR-10's files; undefined: made gratings. */
  readonly data?: string;
  readonly out: string;
  /** What `out`/owner holds as long as no other run has taken the folder over. */
  readonly owner: string;
}

const machineOf = (backend: string, device: string): Result['machine'] => ({
  processors: os.cpus().length,
  processor: os.cpus()[0]?.model ?? 'unknown',
  node: process.version,
  backend,
  device,
  tfjs: tf.version.tfjs,
  khorovod: String(hvd.buildInfo().version),
});

async function main(): Promise<void> {
  const job = JSON.parse(process.argv[2]!) as Job;
  const { optimizer: name, settings, until, out } = job;
  hvd.init();
  const isFirst = hvd.rank() === 0;
  const progress = new Progress(isFirst);
  const { name: backend, device } = await hvd.selectBackend();

  const { train, test } = studyData(job.data, settings.trainImages, settings.seed);
  if (identityOf({ train, test }).sha256 !== settings.sha256)
    throw new DataError(`rank ${hvd.rank()} on ${hvd.hostname()} has other images than the run began with`);

  const { model, optimizer, epochs, done } = await begin(out, name, settings, backend);
  const result: Result = { optimizer: name, settings, machine: machineOf(backend, device), epochs };
  if (isFirst && done > 0) writeResult(out, result);
  progress.line(`${name}: ${hvd.size()} ranks, ${device}, epochs ${done + 1} to ${until}`);
  for (let epoch = done + 1; epoch <= until; epoch += 1) {
    const startedMs = performance.now();
    await trainEpoch(model, train, settings, epoch, progress);
    const trainSeconds = (performance.now() - startedMs) / 1000;
    const [onTrain, onTest] = [evaluate(model, train), evaluate(model, test)];
    const seconds = (performance.now() - startedMs) / 1000;
    if (isFirst) {
      if (readFileSync(path.join(out, 'owner'), 'utf8') !== job.owner)
        throw new CheckpointError(`another run has taken ${out} over: this one ends`);
      epochs.push({
        epoch,
        trainLoss: onTrain.loss,
        trainAccuracy: onTrain.accuracy,
        testLoss: onTest.loss,
        testAccuracy: onTest.accuracy,
        seconds: Number(seconds.toFixed(3)),
        trainSeconds: Number(trainSeconds.toFixed(3)),
      });
      await save(out, result, model, optimizer);
    }
    const of = ({ loss, accuracy }: { loss: number; accuracy: number }) =>
      `loss ${loss.toFixed(4)}, accuracy ${(100 * accuracy).toFixed(1)} %`;
    progress.line(`${name} ${epoch}/${settings.epochs}: training ${of(onTrain)}; test ${of(onTest)}; ${seconds.toFixed(1)} s`);
  }
  hvd.shutdown();
}

main().catch((error: unknown) => {
  const isUsers = error instanceof DataError || error instanceof CheckpointError;
  process.stderr.write(`${isUsers ? `study: ${(error as Error).message}` : ((error as Error)?.stack ?? String(error))}\n`);
  process.exit(1);
});
