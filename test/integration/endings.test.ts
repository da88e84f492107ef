/** How jobs end: exit codes, who is named, what is left. One of each kind here; test/slow/endings has thirty jobs. */
import t from 'tap';
import { Job, runJob, worker } from '../helpers/tsrun';

const holds = worker('holds.js');
const verdict = (err: string): string => err.trimEnd().split('\n').at(-1)!;
const linux = process.platform === 'linux' ? false : 'looks at /proc';

t.test('the exit code is the failing rank’s, which is named last with its last words', { skip: linux }, async (t) => {
  const { status, err, left } = await runJob([
    '-np',
    '3',
    '--',
    'sh',
    '-c',
    'if [ $HOROVOD_RANK = 1 ]; then sleep 0.3; echo "no space" >&2; exit 7; fi; sleep 60',
  ]);
  t.equal(status, 7);
  t.match(verdict(err), /rank 1 on host localhost ended with exit code 7; the others were ended/);
  t.match(err, /\| no space/);
  t.same(left, []);
});

t.test('a job whose ranks all end well is exit 0, one early rank stops nobody', { skip: linux }, async (t) => {
  const { status, out, err, left } = await runJob(['-np', '2', '--', 'sh', '-c', '[ $HOROVOD_RANK = 0 ] || sleep 0.5; echo done']);
  t.equal(status, 0);
  t.equal(out.match(/done/g)?.length, 2);
  t.equal(err, '');
  t.same(left, []);
});

t.test('what the failed rank had started is ended too, and what ignores SIGTERM after the grace', { skip: linux }, async (t) => {
  const job = new Job(['-np', '2', holds, '@', '1:child', '0:deaf']);
  await job.files(/^ready-/, 2);
  process.kill(Number(job.read('ready-1')), 'SIGKILL');
  t.equal(await job.status(), 137);
  t.match(verdict(job.err), /rank 1 on host localhost was ended by signal SIGKILL \(9\)/);
  t.same(await job.leftAfter(), []);
});

t.test('ranks get SIGTERM first, and time to clean up', { skip: linux }, async (t) => {
  const job = new Job(['-np', '2', holds, '@', '0:slow']);
  await job.files(/^ready-/, 2);
  process.kill(Number(job.read('ready-1')), 'SIGKILL');
  await job.files(/^clean-0$/, 1);
  t.equal(await job.status(), 137);
  t.same(await job.leftAfter(), []);
});

t.test('SIGINT, SIGTERM and SIGHUP to tsrun end the job as themselves', { skip: linux }, async (t) => {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    const job = new Job(['-np', '2', holds, '@']);
    await job.files(/^ready-/, 2);
    process.kill(job.pid, signal);
    t.equal(await job.status(), code, signal);
    t.match(verdict(job.err), new RegExp(`ended by ${signal}`));
    t.same(await job.leftAfter(), [], signal);
  }
});

t.test('a second Ctrl-C does not wait for the deaf', { skip: linux }, async (t) => {
  const job = new Job(['-np', '1', holds, '@', 'deaf']);
  await job.files(/^ready-/, 1);
  process.kill(job.pid, 'SIGINT');
  await job.files(/^heard-/, 1);
  // As npm's second one is not.
  await new Promise((resolve) => setTimeout(resolve, 400));
  process.kill(job.pid, 'SIGINT');
  t.equal(await job.status(4000), 130, 'long before the grace of 5 s was over');
  t.same(await job.leftAfter(), []);
});

t.test('--timeout is exit 124', { skip: linux }, async (t) => {
  const { status, err, left } = await runJob(['-np', '2', '--timeout', '1', '--', 'sleep', '60']);
  t.equal(status, 124);
  t.match(verdict(err), /--timeout/);
  t.same(left, []);
});

t.test('SIGUSR1 and SIGUSR2 reach handlers, and end nothing where there is none', { skip: linux }, async (t) => {
  const job = new Job(['-np', '2', holds, '@', '0:usr']);
  await job.files(/^ready-/, 2);
  process.kill(job.pid, 'SIGUSR1');
  process.kill(job.pid, 'SIGUSR2');
  await job.files(/^SIGUSR[12]-0$/, 2);
  t.ok(job.isRunning);
  t.notMatch(job.err, /Debugger listening/);
  process.kill(job.pid, 'SIGTERM');
  t.equal(await job.status(), 143);
  t.same(await job.leftAfter(), []);
});

t.test('whatever of the launcher is killed, nothing is left', { skip: linux }, async (t) => {
  for (const [victim, status] of [
    ['tsrun', 137],
    ['agent', 1],
    ['reaper', 1],
  ] as const) {
    const job = new Job(['-np', '2', holds, '@', 'deaf', 'child']);
    await job.files(/^ready-/, 2);
    process.kill(victim === 'tsrun' ? job.pid : job.pidOf(`launcher/${victim}.js`), 'SIGKILL');
    t.equal(await job.status(), status, victim);
    if (victim !== 'tsrun') t.match(verdict(job.err), new RegExp(`\\b${victim}\\b`));
    t.same(await job.leftAfter(), [], victim);
  }
});

t.test('with --keep-going the others go on, and the code is still the first failure’s', { skip: linux }, async (t) => {
  const { status, out, left } = await runJob([
    '-np',
    '2',
    '--keep-going',
    '--',
    'sh',
    '-c',
    '[ $HOROVOD_RANK = 0 ] && exit 5; sleep 1; echo through',
  ]);
  t.equal(status, 5);
  t.match(out, /\[1\]<stdout>:through/);
  t.same(left, []);
});

t.test('what cannot be started is exit 3, before any rank runs', { skip: linux }, async (t) => {
  const missing = await runJob(['-np', '2', '--', 'no-such-command-4711']);
  t.equal(missing.status, 3);
  t.match(verdict(missing.err), /no-such-command-4711/);
  const folder = await runJob(['-np', '2', '--wdir', '/no/such/folder', '--', 'true']);
  t.equal(folder.status, 3);
  t.match(verdict(folder.err), /\/no\/such\/folder/);
  const far = await runJob(['-np', '2', '-H', 'far.invalid:2', '--', 'true']);
  t.equal(far.status, 3);
  t.match(verdict(far.err), /far\.invalid/);
});

t.test('a rank that dies or exits is a PeerError of all others, pending and later, and names it', { skip: linux }, async (t) => {
  const job = new Job(['-np', '3', worker('reports_peer_error.js'), '@']);
  await job.files(/^ready-/, 3);
  process.kill(Number(job.read('ready-1')), 'SIGKILL');
  const records = (await job.files(/^failed-/, 2)).map((name) => JSON.parse(job.read(name)));
  for (const { first, later } of records) {
    t.match(first, { isPeerError: true, peer: 1, message: /[Rr]ank 1/ });
    t.same(later, first, 'the first failure wins');
  }
  t.equal(await job.status(), 137);
  t.match(verdict(job.err), /rank 1 .*SIGKILL/);
  t.same(await job.leftAfter(), []);
});

t.test('a frozen rank is a PeerError after --peer-timeout', { skip: linux }, async (t) => {
  const job = new Job(['-np', '2', '--peer-timeout', '3', worker('reports_peer_error.js'), '@']);
  await job.files(/^ready-/, 2);
  process.kill(Number(job.read('ready-1')), 'SIGSTOP');
  const [name] = await job.files(/^failed-0/, 1);
  t.match(JSON.parse(job.read(name!)).first, { isPeerError: true, peer: 1, message: /said nothing for \d+\.\d s/ });
  process.kill(job.pid, 'SIGTERM');
  t.equal(await job.status(), 143);
  t.same(await job.leftAfter(), [], 'the frozen one is ended as well');
});
