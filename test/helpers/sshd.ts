/** An sshd of this test's own, on a port of 127.0.0.1, that lets this user in by a key of its own; the names of its hosts stand in an ssh configuration. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { freePort } from './free_port';
import { until } from './processes';

const program = ['/usr/sbin/sshd', '/usr/local/sbin/sshd', '/usr/bin/sshd'].find((file) => existsSync(file));
/** Why there is none; undefined: there is. */
export const whyNoSshd =
  program === undefined || spawnSync('ssh-keygen', ['-?']).error !== undefined ? 'needs sshd and ssh-keygen (openssh-server)' : undefined;

export class Sshd {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-sshd-'));
  readonly knownHosts = path.join(this.folder, 'known_hosts');
  readonly config = path.join(this.folder, 'config');
  private child?: ChildProcess;
  log = '';

  private constructor(readonly port: number) {}

  static async start(): Promise<Sshd> {
    const sshd = new Sshd(await freePort());
    sshd.makeKey('host');
    sshd.makeKey('user');
    writeFileSync(path.join(sshd.folder, 'authorized_keys'), readFileSync(path.join(sshd.folder, 'user.pub')));
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
    const settings = [
      `Port ${sshd.port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${sshd.folder}/host`,
      'PidFile none',
      `AuthorizedKeysFile ${sshd.folder}/authorized_keys`,
      'StrictModes no',
      'AuthenticationMethods publickey',
      'PermitRootLogin prohibit-password',
      'UsePAM no',
      'UseDNS no',
      'LogLevel VERBOSE',
    ];
    writeFileSync(path.join(sshd.folder, 'sshd_config'), `${settings.join('\n')}\n`);
    const child = spawn(program!, ['-D', '-e', '-f', path.join(sshd.folder, 'sshd_config')], { stdio: ['ignore', 'ignore', 'pipe'] });
    sshd.child = child;
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      sshd.log += text;
    });
    if (!(await until(() => sshd.log.includes('Server listening'), 30_000))) throw new Error(`sshd does not listen: ${sshd.log}`);
    sshd.learn();
    writeFileSync(
      sshd.config,
      `Host far*\n  HostName 127.0.0.1\n  Port ${sshd.port}\n  IdentityFile ${sshd.folder}/user\n  IdentitiesOnly yes\n  HostKeyAlias far\n  UserKnownHostsFile ${sshd.knownHosts}\n`,
    );
    return sshd;
  }

  /** Makes its key known. */
  learn(key = readFileSync(path.join(this.folder, 'host.pub'), 'utf8')): void {
    writeFileSync(this.knownHosts, key === '' ? '' : `far ${key}`);
  }

  /** @returns the public key's line */
  makeKey(name: string, ...options: string[]): string {
    const file = path.join(this.folder, name);
    const { status, stderr } = spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', ...options, '-f', file], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`ssh-keygen: ${stderr}`);
    return readFileSync(`${file}.pub`, 'utf8');
  }

  stop(): void {
    this.child?.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}
