/** A few random programs (test/helpers/programs) on whatever ranks there are; many more of them run in test/slow. */
import t from 'tap';
import * as hvd from '../../src/index';
import { performProgram, registerSetsOfJob } from '../helpers/programs/perform';

const PROGRAMS = 12;

hvd.init();

t.test(`${PROGRAMS} random programs give every rank what the model says`, async (t) => {
  const ofJob = registerSetsOfJob();
  for (let seed = 1; seed <= PROGRAMS; seed += 1) await t.resolves(performProgram(seed, ofJob), `seed ${seed}`);
  // Rank 0 coordinates the sets without it, too: it leaves when nobody needs it.
  hvd.barrier();
});
