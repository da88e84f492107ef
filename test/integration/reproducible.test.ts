/** Two runs of the same job give the same bits. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import t from 'tap';

const root = path.join(__dirname, '..', '..');

function checksum(np: number, optimizer: string): string {
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [path.join(root, 'launcher/tsrun.js'), '-np', String(np), path.join(root, 'test/workers/trains.js'), optimizer, '30'],
    { encoding: 'utf8', timeout: 300_000 },
  );
  return /weights [0-9a-f]{64}/.exec(stdout)?.[0] ?? `no checksum, exit code ${status}: ${stdout}${stderr}`;
}

for (const [np, optimizer] of [
  [2, 'adam'],
  [3, 'rmsprop'],
] as const)
  t.test(`${np} ranks, ${optimizer}: two runs end with the same weights, to the bit`, async (t) => {
    const first = checksum(np, optimizer);
    t.match(first, /^weights /);
    t.equal(checksum(np, optimizer), first);
  });
