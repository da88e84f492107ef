/** Each way in which a job on several hosts ends: exit code, first cause, and nothing left on any host. test/hosts/random_endings draws more of them. */
import t, { type Test } from 'tap';
import type { BedHost } from '../helpers/bed_host';
import { endBy, endings, PEER_TIMEOUT_S } from '../helpers/endings';
import { until } from '../helpers/processes';
import { TestBed, whyNoBed } from '../helpers/test_bed';
import { worker } from '../helpers/tsrun';

const holds = worker('holds.js');
const reduces = worker('reduces_for_ever.js');

t.test('endings', { skip: whyNoBed ?? false, timeout: 0 }, async (t) => {
  const bed = await TestBed.up(2);
  t.teardown(() => bed.down());
  const [here, h1, h2] = bed.hosts as [BedHost, BedHost, BedHost];
  const start = async (t: Test, ...words: string[]) => {
    const job = bed.job(['-np', '2', '-H', bed.list(1, 2), '--peer-timeout', String(PEER_TIMEOUT_S), ...words]);
    t.teardown(async () => {
      await bed.leftAfter(0);
      await job.leftAfter(0);
    });
    await job.files(/^ready-/, 2);
    return job;
  };
  const tsrun = () => here.pidOf(/^\S*node \S*launcher\/tsrun\.js/);

  for (const ending of endings) {
    t.test(`${ending.name}, while ranks reduce`, async (t) => {
      const job = await start(t, reduces, '@');
      t.same(await endBy(ending, { bed, job, host: h2 }), []);
    });
  }

  for (const name of [
    'SIGKILL of tsrun',
    'SIGKILL of an agent',
    'SIGKILL of a reaper',
    'SIGKILL of an agent and of its reaper',
    'SIGSTOP of an agent',
    'a cut of a host',
  ]) {
    t.test(`${name}, of ranks that ignore every signal and have left processes in sessions of their own`, async (t) => {
      const job = await start(t, holds, '@', 'deaf', 'child', 'orphan');
      t.ok(await until(() => !Number.isNaN(h1.pidOf(/^sleep 300/)) && !Number.isNaN(h2.pidOf(/^sleep 300/)), 20_000));
      t.same(await endBy(endings.find((ending) => ending.name === name)!, { bed, job, host: h2 }), []);
    });
  }

  t.test('a job that ends well leaves nothing of what its ranks have left', async (t) => {
    const job = await start(t, holds, '@', 'orphan', 'brief');
    t.equal(await job.status(), 0, job.err);
    t.same(await bed.leftAfter(), []);
  });

  t.test('a rank that ignores SIGTERM is killed after the grace, at once after a second Ctrl-C', async (t) => {
    const slow = await start(t, holds, '@', '1:deaf', '0:slow');
    process.kill(tsrun(), 'SIGINT');
    t.equal(await slow.status(), 130);
    t.equal(slow.read('clean-0'), '', 'the other one had time to tidy up');
    t.same(await bed.leftAfter(), []);
    const job = await start(t, holds, '@', '1:deaf', '0:slower');
    process.kill(tsrun(), 'SIGINT');
    await job.files(/^heard-1$/, 1);
    await new Promise((resolve) => setTimeout(resolve, 400));
    process.kill(tsrun(), 'SIGINT');
    t.equal(await job.status(), 130);
    t.throws(() => job.read('clean-0'), { code: 'ENOENT' }, 'nobody had');
    t.same(await bed.leftAfter(), []);
  });

  t.test('a cut that is shorter than --peer-timeout ends nothing', async (t) => {
    const job = bed.job(['-np', '2', '-H', bed.list(1, 2), '--peer-timeout', '10', reduces, '@']);
    await job.files(/^ready-/, 2);
    h2.cut();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    h2.heal();
    const before = Number(job.read('steps-0'));
    t.ok(await until(() => !job.isRunning || Number(job.read('steps-0')) > before + 200, 60_000));
    t.ok(job.isRunning, job.err);
    process.kill(tsrun(), 'SIGTERM');
    t.equal(await job.status(), 143);
    t.same(await bed.leftAfter(), []);
    await job.leftAfter(0);
  });

  t.test('a host that loses its power is a PeerError of the ranks on the others', async (t) => {
    // Ranks are told a shorter time than tsrun: it would end them otherwise while they notice.
    const job = bed.job(['-np', '2', '-H', bed.list(1, 2), '-x', 'TSRUN_PEER_TIMEOUT=4', worker('reports_peer_error.js'), '@']);
    await job.files(/^ready-/, 2);
    await h2.kill();
    const [name] = await job.files(/^failed-0$/, 1);
    t.match(JSON.parse(job.read(name!)).first, { isPeerError: true, peer: 1 });
    t.equal(await job.status(), 1);
    t.match(job.err.trimEnd().split('\n').at(-1), `host ${h2.name}`);
    t.same(await bed.leftAfter(), []);
    await job.leftAfter(0);
    await h2.start();
  });

  t.test('a disk that fills up under --output-filename: the console goes on, one warning, exit 1', async (t) => {
    const folder = `${bed.folder}/small`;
    here.exec(['mkdir', folder]);
    t.equal(here.exec(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'small', folder]).status, 0);
    const code = `i=0; while [ $i -lt 20000 ]; do echo "line $i of many"; i=$((i+1)); done`;
    const { status, out, err, left } = await bed.run([
      '-np',
      '2',
      '-H',
      bed.list(1, 2),
      '--output-filename',
      folder,
      '--',
      'sh',
      '-c',
      code,
    ]);
    t.equal(status, 1);
    t.equal(out.split('\n').length - 1, 40_000, 'the console has every line');
    const warnings = err.split('\n').filter((line) => line.includes(folder));
    t.equal(warnings.length, 1, err);
    t.match(warnings[0], /ENOSPC|no space/i);
    t.same(left, []);
    const failing = await bed.run(['-np', '2', '-H', bed.list(1, 2), '--output-filename', folder, '--', 'sh', '-c', `${code}; exit 9`]);
    t.equal(failing.status, 9, 'a failing rank has the first word');
  });
});
