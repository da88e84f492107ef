/** Reads what a rank was given to choose algorithms by. Main thread, in `init()`, so that what is wrong is thrown there. */
import { readFileSync } from 'node:fs';
import type { Config } from '../config';
import { UsageError } from '../errors';
import { toldAlgorithms, toldCostModel } from './policy';

/** @throws UsageError a file cannot be read or says what makes no sense, or settings contradict each other */
export function withCosts(config: Config): Config {
  toldAlgorithms(config);
  const { costModel: file, rank } = config;
  return file ? Object.freeze({ ...config, toldCostModel: toldCostModel(file, textOf(file), rank) }) : config;
}

/** undefined: there is none here. */
function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new UsageError(`The cost model '${file}' (TSRUN_COST_MODEL) cannot be read: ${(error as Error).message}.`);
  }
}
