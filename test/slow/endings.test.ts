/**
 * Fifty jobs, each ended by SIGKILL of a rank, of tsrun, of the agent or of the reaper, drawn by a seeded generator: nothing may be left 5 s after tsrun has ended, and where tsrun
 * lives it names what came first.
 */
import t from 'tap';
import { Job, worker } from '../helpers/tsrun';

const JOBS = 50;
const kinds = ['rank', 'tsrun', 'agent', 'reaper'] as const;

let seed = 20261124;
const random = (below: number): number => {
  seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
  return Math.floor((seed / 2 ** 32) * below);
};

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
  const status = await job.status(20_000);
  return { status, left: await job.leftAfter(), text: job.err, isStarted };
}

t.test(
  'fifty jobs ended by SIGKILL leave nothing, and name what came first',
  { timeout: 0, skip: process.platform === 'linux' ? false : 'looks at /proc' },
  async (t) => {
    for (let job = 0; job < JOBS; job += 1) {
      const [kind, np] = [kinds[random(4)]!, 1 + random(3)];
      const victim = random(np);
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
