/** How `scripts/gpu_check.mjs` tells what its checks saw. */
import path from 'node:path';
import t from 'tap';

interface Check {
  readonly name: string;
  readonly needs?: ReadonlyArray<(machine: Machine) => string | undefined>;
  readonly act: (machine: Machine) => Promise<string> | string;
}
interface Machine {
  readonly gpus: number;
}
interface Report {
  readonly Skipped: new (message: string) => Error;
  must(holds: boolean, what: string): void;
  runChecks(
    checks: readonly Check[],
    machine: Machine,
    choice: { only?: RegExp; limitMs?: number },
    place: { now: () => number; print: (line: string) => void },
  ): Promise<{ passed: number; failed: number; skipped: number }>;
}
const { runChecks, Skipped, must } = require(path.join(__dirname, '../../../../scripts/gpu_check/report.mjs')) as Report;

const twoGpus = ({ gpus }: Machine): string | undefined => (gpus < 2 ? `it needs two GPUs, here are ${gpus}` : undefined);

/** Each look at the clock takes a tenth of a second. */
async function linesOf(checks: readonly Check[], choice: { only?: RegExp; limitMs?: number } = {}, gpus = 0) {
  const lines: string[] = [];
  let time = 0;
  const now = (): number => (time += 100);
  const counts = await runChecks(checks, { gpus }, choice, { now, print: (line) => lines.push(line) });
  return { lines, counts };
}

t.test('one line each, and how many of each', async (t) => {
  const { lines, counts } = await linesOf([
    { name: 'facts', act: () => 'no driver\n  2 processors\n' },
    {
      name: 'wrong',
      act: () => {
        must(true, 'is right');
        must(false, 'weights are off by 0.5');
        return 'never';
      },
    },
    { name: 'scaling', needs: [twoGpus], act: () => 'never' },
    { name: 'hidden', act: () => Promise.reject(new Skipped('unshare is not allowed')) },
  ]);
  t.same(lines, [
    'ok facts (0.1 s): no driver | 2 processors',
    'FAILED wrong (0.1 s): weights are off by 0.5',
    'skipped scaling (0.1 s): it needs two GPUs, here are 0',
    'skipped hidden (0.1 s): unshare is not allowed',
    '1 passed, 1 failed, 2 skipped',
  ]);
  t.same(counts, { passed: 1, failed: 1, skipped: 2 });
});

t.test('what a check needs is asked of the machine', async (t) => {
  const { lines } = await linesOf([{ name: 'scaling', needs: [twoGpus], act: ({ gpus }) => `${gpus} GPUs` }], {}, 4);
  t.equal(lines[0], 'ok scaling (0.1 s): 4 GPUs');
});

t.test('only some; none are begun after the time', async (t) => {
  const checks = ['a', 'b', 'aa'].map((name) => ({ name, act: () => name }));
  t.same((await linesOf(checks, { only: /^a/ })).lines, ['ok a (0.1 s): a', 'ok aa (0.1 s): aa', '2 passed, 0 failed, 0 skipped']);
  const { lines } = await linesOf(checks, { limitMs: 300 });
  t.same(lines.slice(0, 2), ['ok a (0.1 s): a', 'skipped b (0.1 s): 0.3 s have passed, --time is 0.3']);
  t.equal(lines.at(-1), '1 passed, 0 failed, 2 skipped');
});
