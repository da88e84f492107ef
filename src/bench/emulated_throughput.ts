/**
 * The training benchmark with emulated computation (emulated_step.ts): the same command, figures and report, marked as emulated. Neither TensorFlow.js nor images are needed. Main thread.
 *
 * Computation and links are slower than what is emulated by the same factor; `imagesPerSec` is what the emulated machine reaches, measured images per second times that factor.
 */
import { readConfig } from '../config';
import { elemsOf } from '../dtype';
import { UsageError } from '../errors';
import * as hvd from '../index';
import { modeOfStrategy } from '../parameter_server/consistency';
import type { RuleSpec } from '../parameter_server/rules';
import { type EmulatedSettings, EmulatedTraining } from './emulated_step';
import { shapesOf } from './models/networks';
import { type Compute, computeOf } from './profiles';
import type { OptimizerName, ThroughputSettings } from './throughput_args';
import { mean, throughputFigures } from './throughput_figures';

/** Of `--emulate-compute`: no computation at all, communication alone. */
export const NO_COMPUTE = 'none';

const rules: Partial<Record<OptimizerName, RuleSpec>> = {
  sgd: { kind: 'sgd' },
  momentum: { kind: 'momentum', momentum: 0.9, nesterov: false },
  nesterov: { kind: 'momentum', momentum: 0.9, nesterov: true },
  adam: { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-7 },
};

/** @throws UsageError servers apply the optimizer otherwise than its name says */
function ruleFor(optimizer: OptimizerName): RuleSpec {
  const rule = rules[optimizer];
  if (!rule) throw new UsageError(`--optimizer ${optimizer} is not emulated: take one of ${Object.keys(rules).join(', ')}.`);
  return rule;
}

function computeFor({ emulate, network, batchSize, size, classes }: ThroughputSettings, variables: number): Compute & { source: string } {
  if (emulate === NO_COMPUTE) return { forwardMs: 0, backwardMs: Array(variables).fill(0), source: 'communication alone' };
  return computeOf(emulate!, network, { batchSize, imageSize: size, classes });
}

export function emulate(settings: ThroughputSettings): void {
  const { network, batchSize, size, classes, warmUp, iterations, slowDown, isWithoutCommunication } = settings;
  const rule = ruleFor(settings.optimizer);
  const sizes = shapesOf(network, { size, classes }).map(({ shape }) => elemsOf(shape));
  const { source, ...compute } = computeFor(settings, sizes.length);
  hvd.init();
  const [rank, ranks] = [hvd.rank(), hvd.size()];
  const { strategy } = readConfig();
  const used: EmulatedSettings['strategy'] = isWithoutCommunication ? 'none' : (modeOfStrategy(strategy) ?? 'ring');
  const training = new EmulatedTraining({ sizes, compute, slowDown, strategy: used, rule, learningRate: settings.learningRate });
  const say = (line: string): void => {
    if (rank === 0) process.stdout.write(`${line}\n`);
  };
  const computeMs = slowDown * compute.backwardMs.reduce((sum, ms) => sum + ms, compute.forwardMs);
  const mark = `computation emulated (${settings.emulate}), slowed ${slowDown} times`;
  say(
    `${network}, ${(training.bytes / 1e6).toFixed(0)} MB of gradients, batch ${batchSize} a rank; ${ranks} ranks, strategy ${isWithoutCommunication ? 'none' : strategy}; ${mark}: ${computeMs.toFixed(0)} ms a step (${source})`,
  );

  for (let i = 0; i < warmUp; i += 1) training.run();
  hvd.barrier();
  const times: number[] = [];
  const exposed: number[] = [];
  for (let i = 1; i <= iterations; i += 1) {
    const { ms, exposedMs } = training.run();
    times.push(ms);
    exposed.push(exposedMs);
    say(`step ${i}/${iterations}: ${ms.toFixed(0)} ms, ${exposedMs.toFixed(0)} ms of it exposed communication`);
  }
  const gathered = hvd.allgather(Float64Array.from(times));
  const all = Array.from({ length: ranks }, (_, i) => [...gathered.subarray(i * iterations, (i + 1) * iterations)]);
  const figures = throughputFigures(
    all.map((own) => own.map((ms) => ms / slowDown)),
    batchSize,
  );
  say(
    `${figures.imagesPerSec.toFixed(2)} images/s on ${ranks} ranks (standard deviation ${figures.imagesPerSecSd.toFixed(2)}); ${mark}; measured ${(figures.msPerStepMedian * slowDown).toFixed(1)} ms a step (median)`,
  );
  const what = { network, batchSize, size, classes, iterations, ranks, strategy: isWithoutCommunication ? 'none' : strategy };
  const emulated = { emulated: settings.emulate!, slowDown, computeMs, measuredMsPerStep: figures.msPerStepMedian * slowDown };
  if (rank === 0) hvd.report({ ...what, ...figures, ...emulated, exposedMs: mean(exposed), optimizer: settings.optimizer });
  hvd.shutdown();
}
