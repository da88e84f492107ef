/**
 * Performs random programs one after the other in one job, and prints how many. Arguments: the first seed, how many, and a folder in which `at-RANK` says what this rank is about to do.
 * One alone: `tsrun -np NP dist/test/workers/random_program.js SEED`.
 */
import * as hvd from '../../src/index';
import { performProgram, registerSetsOfJob } from '../helpers/programs/perform';
import { put } from '../helpers/put';

const [firstSeed = '1', count = '1', folder] = process.argv.slice(2);

async function main(): Promise<void> {
  hvd.init();
  const ofJob = registerSetsOfJob();
  for (let seed = Number(firstSeed); seed < Number(firstSeed) + Number(count); seed += 1)
    await performProgram(seed, ofJob, (where) => folder && put(folder, `at-${hvd.rank()}`, where));
  // Rank 0 coordinates the sets without it, too: it leaves when nobody needs it.
  hvd.barrier();
  console.log(`${count} programs right`);
}
void main();
