/** Jobs on a host that is reached by ssh: a real sshd, real keys, real known_hosts. (The host is this machine by another name.) */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { processesWith, until } from '../helpers/processes';
import { Sshd, whyNoSshd } from '../helpers/sshd';
import { Job, LEFT_MS, runJob } from '../helpers/tsrun';

const root = path.join(__dirname, '..', '..', '..');
const entry = path.join(root, 'dist', 'src', 'index.js');

t.test('a host that does not answer: Ctrl-C ends the wait at once, --start-timeout at its time', async (t) => {
  const silent = net.createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-silent-'));
  t.teardown(() => {
    silent.close();
    rmSync(folder, { recursive: true });
  });
  const config = path.join(folder, 'config');
  writeFileSync(config, `Host far\n  HostName 127.0.0.1\n  Port ${(silent.address() as net.AddressInfo).port}\n`);
  const args = ['-np', '1', '-H', 'far', '--ssh-config', config];
  const connected = new Promise((resolve) => silent.once('connection', resolve));
  const job = new Job([...args, '--', 'true']);
  await connected;
  process.kill(job.pid, 'SIGINT');
  t.equal(await job.status(20_000), 130, 'before --start-timeout');
  t.same(await job.leftAfter(), []);
  const late = await runJob([...args, '--start-timeout', '1', '--', 'true']);
  t.equal(late.status, 3);
  t.match(late.err, /host far \(ssh to .*@127\.0\.0\.1 port \d+\): no connection within 1 s/);
});

t.test('by ssh', { skip: whyNoSshd ?? false }, async (t) => {
  const sshd = await Sshd.start();
  t.teardown(() => sshd.stop());
  const run = (np: number, options: string[], command: string[], more?: Parameters<typeof runJob>[1]) =>
    runJob(['-np', String(np), '-H', `far:${np}`, '--ssh-config', sshd.config, '--wdir', root, ...options, '--', ...command], more);

  t.test('ranks run there, meet, and their output, input and codes come back', async (t) => {
    const code = `const hvd = require(${JSON.stringify(entry)}); hvd.init(); console.log('sum', hvd.allreduce(Float32Array.of(hvd.rank() + 1), { op: 'sum' })[0], process.env.HOROVOD_HOSTNAME);`;
    const { status, out, err, left } = await run(2, [], ['node', '-e', code]);
    t.equal(status, 0, err);
    t.same(out.split('\n').sort().filter(Boolean), ['[0]<stdout>:sum 3 far', '[1]<stdout>:sum 3 far']);
    t.same(left, []);
    const failing = await run(2, [], ['sh', '-c', 'test $HOROVOD_RANK = 0 && sleep 30; echo last words >&2; exit 9']);
    t.equal(failing.status, 9);
    t.match(failing.err, /rank 1 on host far ended with exit code 9/);
    t.match(failing.err, /last words/);
    const hostfile = path.join(sshd.folder, 'hostfile');
    const as = (user: string) => {
      writeFileSync(hostfile, `${user}@far slots=1\n`);
      return runJob(['-np', '1', '--hostfile', hostfile, '--ssh-config', sshd.config, '--', 'whoami']);
    };
    const asUser = await as(os.userInfo().username);
    t.equal(asUser.out, `[0]<stdout>:${os.userInfo().username}\n`, asUser.err);
    t.match((await as('no-such-user')).err, /ssh to no-such-user@127/);
    const input = await run(1, [], ['cat'], { stdin: 'one\ntwo\n' });
    t.equal(input.out, '[0]<stdout>:one\n[0]<stdout>:two\n');
  });

  t.test('through other hosts (ProxyJump), which are connected to once', async (t) => {
    const config = path.join(sshd.folder, 'config.jump');
    const behind = 'Host behind*\n  ProxyJump far\n  HostName 127.0.0.1\n  HostKeyAlias far\n';
    const further = `Host deep\n  HostName 127.0.0.1\n  HostKeyAlias far\n  ProxyJump far,127.0.0.1:${sshd.port}\n`;
    const common = `Host *\n  Port ${sshd.port}\n  IdentityFile ${sshd.folder}/user\n  UserKnownHostsFile ${sshd.knownHosts}\nHost 127.0.0.1\n  HostKeyAlias far\n`;
    writeFileSync(config, `Include ${sshd.config}\n${behind}${further}${common}`);
    const options = ['--ssh-config', config, '--wdir', root, '--', 'sh', '-c', 'echo "$HOROVOD_HOSTNAME"'];
    const logged = sshd.log.length;
    const { status, out, err } = await runJob(['-np', '3', '-H', 'behind1,behind2,deep', ...options]);
    t.equal(status, 0, err);
    t.same(out.split('\n').sort(), ['', '[0]<stdout>:behind1', '[1]<stdout>:behind2', '[2]<stdout>:deep']);
    t.equal(
      sshd.log.slice(logged).match(/Accepted publickey/g)?.length,
      5,
      'far, what lies behind far on the way to deep, and three hosts',
    );
    writeFileSync(config, `Host round\n  ProxyJump round\n${common}`);
    const round = await runJob(['-np', '1', '-H', 'round', ...options]);
    t.equal(round.status, 3);
    t.match(round.err, /ProxyJumps go round in a circle/);
  });

  t.test('by another program (--rsh)', async (t) => {
    const ssh = `ssh -F ${sshd.config} -o BatchMode=yes`;
    const { status, out, err } = await run(
      2,
      ['--rsh', ssh],
      // Rank 1 fails when rank 0 has said its line.
      [
        'sh',
        '-c',
        'echo "$HOROVOD_RANK of $HOROVOD_HOSTNAME"; : > "@/said-$HOROVOD_RANK"; while [ ! -e @/said-0 ]; do sleep 0.05; done; exit $((HOROVOD_RANK * 6))',
      ],
    );
    t.equal(status, 6, err);
    t.same(out.split('\n').sort(), ['', '[0]<stdout>:0 of far', '[1]<stdout>:1 of far']);
    const refused = await run(1, ['--rsh', `${ssh} -p 9`], ['true']);
    t.equal(refused.status, 3);
    t.match(refused.err, /agent on host far \(by ssh\) ended with exit code 255; it said: .*refused/);
    const none = await run(1, ['--rsh', 'no-such-program'], ['true']);
    t.equal(none.status, 3);
    t.match(none.err, /no-such-program.*ENOENT/);
  });

  t.test('Ctrl-Z stops the job for longer than --peer-timeout, and it goes on', async (t) => {
    const command = ['sh', '-c', 'echo begun; while [ ! -e @/go ]; do sleep 0.1; done; echo done'];
    const job = new Job(['-np', '2', '-H', 'far:2', '--ssh-config', sshd.config, '--wdir', root, '--peer-timeout', '2', '--', ...command]);
    t.ok(await until(() => job.out.split('begun').length === 3, 60_000), job.err);
    process.kill(job.pid, 'SIGTSTP');
    const ranks = () => processesWith(job.folder).filter(({ command: text }) => text.startsWith('sh -c echo begun'));
    const isStopped = (pid: number): boolean => / T /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
    const stopped = () => ranks().filter(({ pid }) => isStopped(pid)).length;
    t.ok(await until(() => isStopped(job.pid) && stopped() === 2, 20_000), 'tsrun stops, and so do the ranks');
    job.put('go');
    await new Promise((resolve) => setTimeout(resolve, 4000));
    t.notMatch(job.out, /done/);
    process.kill(job.pid, 'SIGCONT');
    t.equal(await job.status(), 0, job.err);
    t.same(job.out.split('\n').filter((line) => line.endsWith('done')).length, 2);
    t.same(ranks(), []);
    t.same(await job.leftAfter(), []);
  });

  t.test("the host's own environment, with what options add", async (t) => {
    const show = ['sh', '-c', 'echo "$HERE|$GIVEN|$SAME|$HOROVOD_FUSION_THRESHOLD|$(test -n "$SSH_CONNECTION" && echo by ssh)|$(pwd)"'];
    const { out } = await run(1, ['-x', 'GIVEN=yes', '-x', 'SAME', '--fusion-threshold-mb', '3'], show, {
      env: { HERE: 'only here', SAME: 'as here' },
    });
    t.equal(out, `[0]<stdout>:|yes|as here|${3 << 20}|by ssh|${root}\n`);
  });

  t.test('a host key that is unknown, changed or revoked is refused, and nothing is started', async (t) => {
    const key = readFileSync(path.join(sshd.folder, 'host.pub'), 'utf8');
    t.teardown(() => sshd.learn());
    sshd.learn('');
    const unknown = await run(1, [], ['echo', 'started']);
    t.equal(unknown.status, 3);
    t.match(unknown.err, /host far .*its key \(ssh-ed25519 SHA256:.*\) is unknown: .*--accept-new-host-keys/);
    const accepted = await run(1, ['--accept-new-host-keys'], ['echo', 'started']);
    t.equal(accepted.status, 0, accepted.err);
    t.equal(readFileSync(sshd.knownHosts, 'utf8').split(' ').slice(0, 3).join(' ').trim(), `far ${key.split(' ').slice(0, 2).join(' ')}`);
    sshd.learn(sshd.makeKey('other'));
    const changed = await run(1, ['--accept-new-host-keys'], ['echo', 'started']);
    t.equal(changed.status, 3);
    t.match(changed.err, /host far .*has CHANGED.*known_hosts, line 1.*ssh-keygen -R/);
    writeFileSync(sshd.knownHosts, `@revoked far ${key}`);
    const revoked = await run(1, ['--accept-new-host-keys'], ['echo', 'started']);
    t.equal(revoked.status, 3);
    t.match(revoked.err, /is revoked by .*known_hosts, line 1/);
    for (const { out } of [unknown, changed, revoked]) t.equal(out, '');
  });

  t.test('what a host refuses or lacks is said with what to do, exit 3', async (t) => {
    sshd.makeKey('stranger');
    const stranger = await run(1, ['-i', path.join(sshd.folder, 'stranger')], ['true']);
    t.equal(stranger.status, 0, 'the key of the configuration is tried after it');
    const config = path.join(sshd.folder, 'config.stranger');
    writeFileSync(config, readFileSync(sshd.config, 'utf8').replace(`${sshd.folder}/user`, `${sshd.folder}/stranger`));
    const refused = await run(1, ['--ssh-config', config], ['true']);
    t.equal(refused.status, 3);
    t.match(
      refused.err,
      /host far \(ssh to .*@127\.0\.0\.1 port \d+\): the host accepts none of the keys that were offered \(.*stranger\): add the public key/,
    );
    const folder = await runJob(['-np', '1', '-H', 'far', '--ssh-config', sshd.config, '--wdir', '/no/such/folder', '--', 'true']);
    t.equal(folder.status, 3);
    t.match(folder.err, /host far .*no such working folder there.*--wdir/);
    const nobody = await runJob([
      '-np',
      '2',
      '-H',
      'far,nobody.invalid',
      '--ssh-config',
      sshd.config,
      '--wdir',
      root,
      '--',
      'echo',
      'started',
    ]);
    t.equal(nobody.status, 3);
    t.match(nobody.err, /host nobody\.invalid/);
    t.equal(nobody.out, '', 'one host among others: none begins');
  });

  t.test('an encrypted key works through the agent, of which IdentitiesOnly offers those that are named', async (t) => {
    const socket = path.join(sshd.folder, 'agent');
    const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' });
    t.teardown(() => agent.kill());
    t.ok(await until(() => existsSync(socket), 20_000));
    for (const key of ['other-1', 'user']) {
      if (key !== 'user') sshd.makeKey(key);
      t.equal(spawnSync('ssh-add', ['-q', path.join(sshd.folder, key)], { env: { ...process.env, SSH_AUTH_SOCK: socket } }).status, 0);
    }
    const locked = path.join(sshd.folder, 'locked');
    writeFileSync(locked, readFileSync(path.join(sshd.folder, 'user')), { mode: 0o600 });
    t.equal(spawnSync('ssh-keygen', ['-q', '-p', '-P', '', '-N', 'a passphrase', '-f', locked]).status, 0);
    const config = path.join(sshd.folder, 'config.locked');
    writeFileSync(config, readFileSync(sshd.config, 'utf8').replace(`${sshd.folder}/user`, locked));
    const options = ['--ssh-config', config];
    const env = { SSH_AUTH_SOCK: socket };
    const unnamed = await run(1, options, ['true'], { env });
    t.equal(unnamed.status, 3, 'no .pub file says that it is that key');
    t.match(unnamed.err, /locked: encrypted, add it to ssh-agent/);
    writeFileSync(`${locked}.pub`, readFileSync(path.join(sshd.folder, 'user.pub')));
    const named = await run(1, options, ['true'], { env });
    t.equal(named.status, 0, named.err);
  });

  t.test('SIGKILL of tsrun leaves nothing there', async (t) => {
    const job = new Job([
      '-np',
      '2',
      '-H',
      'far:2',
      '--ssh-config',
      sshd.config,
      '--wdir',
      root,
      '-x',
      'KHOROVOD_SSH_TEST=1',
      '--',
      'sh',
      '-c',
      'echo > @/$HOROVOD_RANK; exec sleep 300',
    ]);
    await job.files(/^\d$/, 2);
    const pids = runningSleeps();
    t.equal(pids.length, 2);
    process.kill(job.pid, 'SIGKILL');
    t.ok(await until(() => runningSleeps().length === 0, LEFT_MS));
    await job.leftAfter();
  });
});

/** Processes of the last test: by a variable that its option gives them. */
const runningSleeps = (): number[] =>
  processesWith('KHOROVOD_SSH_TEST')
    .filter(({ command }) => command.startsWith('sleep'))
    .map(({ pid }) => pid);
