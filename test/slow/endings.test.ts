/**
 * Fifty jobs, each ended by SIGKILL of a rank, of tsrun, of the agent or of the reaper, drawn by a seeded generator: nothing may be left 5 s after tsrun has ended, and where tsrun
 * lives it names what came first.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { processesWith, until } from '../helpers/processes';

const root = path.join(__dirname, '..', '..');
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
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-endings-'));
  const mark = `ENDINGS_MARK_${path.basename(folder)}`;
  const child = spawn(
    process.execPath,
    [path.join(root, 'launcher/tsrun.js'), '-np', String(np), path.join(root, 'test/workers/reduces_for_ever.js'), folder],
    {
      env: { ...process.env, [mark]: '1' },
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    },
  );
  let text = '';
  child.stderr.on('data', (bytes) => (text += bytes));
  const ended = new Promise<number>((resolve) => child.on('exit', (code, signal) => resolve(code ?? (signal === 'SIGKILL' ? 137 : 128))));
  const isStarted = Boolean(await until(() => readdirSync(folder).filter((name) => /^ready-\d+$/.test(name)).length === np, 30_000));
  const ours = (file: string): number => processesWith(mark).find(({ command }) => command.includes(file))?.pid ?? Number.NaN;
  const pids = {
    rank: () => Number(readFileSync(path.join(folder, `ready-${victim}`))),
    tsrun: () => child.pid!,
    agent: () => ours('launcher/agent.js'),
    reaper: () => ours('launcher/reaper.js'),
  };
  if (isStarted) process.kill(pids[kind](), 'SIGKILL');
  const status = await Promise.race([ended, new Promise<number>((resolve) => setTimeout(() => resolve(-1), 20_000).unref())]);
  await until(() => processesWith(mark).length === 0, 5_000);
  const left = processesWith(mark);
  for (const { pid } of left) process.kill(pid, 'SIGKILL');
  rmSync(folder, { recursive: true, force: true });
  return { text, status, left: left.map(({ command }) => command), isStarted };
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
