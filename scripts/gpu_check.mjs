// Everything about GPUs, checked on the machine that has them: `node scripts/gpu_check.mjs [--only REGEXP] [--time S] [--project FOLDER]` (after `npm run build`).
//
//   --only      checks whose name fits
//   --time      after so many seconds no more checks are begun
//   --project   a project that has the packages already (tfjs-node-gpu, webgpu), for a machine without a network; otherwise they are installed into temporary ones: 3.4 GB for tfjs-node-gpu
//
// One line each, `ok|FAILED|skipped NAME (seconds): what was seen`; the last is `N passed, N failed, N skipped`. Where there is no GPU, what needs one is skipped and says why; what is said without one is checked.
import { parseArgs } from 'node:util';
import { checks } from './gpu_check/checks.mjs';
import { thisMachine } from './gpu_check/machine.mjs';
import { runChecks } from './gpu_check/report.mjs';

const text = { type: 'string' };
const { values } = parseArgs({ options: { only: text, time: text, project: text } });
const limitMs = 1000 * Number(values.time ?? Number.POSITIVE_INFINITY);
if (!(limitMs > 0)) throw new Error(`--time is '${values.time}', but must be a number of seconds above 0`);
const counts = await runChecks(
  checks,
  thisMachine(values.project),
  { only: new RegExp(values.only ?? '.'), limitMs },
  { now: () => performance.now(), print: (line) => console.log(line) },
);
process.exit(counts.failed > 0 || counts.passed + counts.skipped === 0 ? 1 : 0);
