/**
 * Jobs of one to three ranks, each ended by SIGKILL of a rank, of tsrun, of the agent or of the reaper: nothing may be left soon after tsrun has ended, and where tsrun lives it names what came first.
 * Each of the fifteen twice, in an order drawn by a seeded generator.
 */
import t from 'tap';
import { randomOf } from '../helpers/random';
import { Job, worker } from '../helpers/tsrun';

const TIMES = 2;
const kinds = ['rank', 'tsrun', 'agent', 'reaper'] as const;
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const endings = upTo(TIMES).flatMap(() =>
  [1, 2, 3].flatMap((np) => kinds.flatMap((kind) => upTo(kind === 'rank' ? np : 1).map((victim) => ({ kind, np, victim })))),
);

async function endOne(
  kind: (typeof kinds)[number],
  np: number,
  victim: number,
): Promise<{ text: string; status: number; left: string[]; isStarted: boolean }> {
  const job = new Job(['-np', String(np), worker('reduces_for_ever.js'), '@']);
  const isStarted = await job.files(/^ready-\d+$/, np).then(
    () => true,
    () => false,
  );
  const pids = {
    rank: () => Number(job.read(`ready-${victim}`)),
    tsrun: () => job.pid,
    agent: () => job.pidOf('launcher/agent.js'),
    reaper: () => job.pidOf('launcher/reaper.js'),
  };
  if (isStarted) process.kill(pids[kind](), 'SIGKILL');
  const status = await job.status();
  return { status, left: await job.leftAfter(), text: job.err, isStarted };
}

t.test(
  `${endings.length} jobs ended by SIGKILL leave nothing, and name what came first`,
  { timeout: 0, skip: process.platform === 'linux' ? false : 'looks at /proc' },
  async (t) => {
    for (const [job, { kind, np, victim }] of randomOf(20261124).shuffled(endings).entries()) {
      const { text, status, left, isStarted } = await endOne(kind, np, victim);
      const title = `job ${job}: SIGKILL of ${kind}${kind === 'rank' ? ` ${victim}` : ''} of ${np}`;
      t.ok(isStarted, `${title}: it had started`);
      t.same(left, [], `${title}: nothing is left`);
      if (kind === 'tsrun') continue;
      t.equal(status, kind === 'rank' ? 137 : 1, `${title}: exit code`);
      const end = text.trimEnd().split('\n').slice(-12).join('\n');
      t.match(
        end,
        kind === 'rank' ? new RegExp(`rank ${victim}\\b[\\s\\S]*SIGKILL`) : new RegExp(`\\b${kind}\\b`),
        `${title}: the cause is named`,
      );
    }
  },
);
