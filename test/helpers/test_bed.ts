/**
 * Several hosts on this machine, wired to a switch: for what only differs between hosts. Linux, as root.
 *
 * Each host is a set of namespaces (bed_host.ts), the switch a network namespace with a bridge for each network. No interface, route or name of this machine is touched, and all ends with the
 * process that made it, so beds can stand beside each other. The launcher runs on the first host, like everything else: no process of one host can see one of another.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { BedHost, hostNamespaces, ip, namespaceCommand } from './bed_host';
import { endProcess, until } from './processes';
import { Job, LEFT_MS, type Options } from './tsrun';

const sshd = ['/usr/sbin/sshd', '/usr/local/sbin/sshd', '/usr/bin/sshd'].find((file) => existsSync(file));

/** Why there can be none here; undefined: there can. */
export const whyNoBed = ((): string | undefined => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs Linux, as root';
  const missing = ['ip', 'tc', 'unshare', 'nsenter', 'setpriv', 'ssh-keygen'].filter((name) => spawnSync(name, ['-V']).error);
  if (!sshd) missing.push('sshd');
  if (missing.length > 0) return `needs ${missing.join(', ')} (iproute2, util-linux, openssh-server)`;
  const trial = `mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run && ip link add br0 type bridge &&
    ip link add veth0 type veth peer name veth1 && tc qdisc add dev veth0 root tbf rate 1mbit burst 20000 limit 20000`;
  const [command, ...words] = [...namespaceCommand, ...hostNamespaces, 'sh', '-c', trial];
  const { status, stderr } = spawnSync(command!, words, { encoding: 'utf8' });
  return status === 0 ? undefined : `namespaces and virtual networks are not allowed here: ${stderr.trim()}`;
})();

let beds = 0;

export class TestBed {
  readonly hosts: BedHost[] = [];
  readonly folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-bed-'));
  readonly sshConfig = path.join(this.folder, 'ssh_config');
  readonly knownHosts = path.join(this.folder, 'known_hosts');
  /** Stands in every host's name. */
  private readonly id = `${process.pid.toString(36)}x${(beds += 1)}`;

  private constructor(private readonly switchProcess: ChildProcess) {}

  /** The launcher's host and so many others. Those that are isolated, by number, do not reach each other. */
  static async up(others: number, { isolated = [] }: { isolated?: readonly number[] } = {}): Promise<TestBed> {
    const [command, ...words] = [...namespaceCommand, '--net', 'sh', '-c', 'echo up; exec sleep infinity'];
    const child = spawn(command!, words, { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    const bed = new TestBed(child);
    try {
      bed.addNetwork('lan');
      await bed.makeHosts(others + 1, isolated);
    } catch (error) {
      await bed.down();
      throw error;
    }
    return bed;
  }

  /** Another switch, for `plug`. */
  addNetwork(name: string): void {
    ip(this.switchProcess.pid!, `link add ${name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`, `link set ${name} up`);
  }

  /** Where the launcher runs. */
  get here(): BedHost {
    return this.hosts[0]!;
  }
  /** For `-H`: hosts by number, as `1:2` with so many slots. */
  list(...hosts: Array<number | string>): string {
    return hosts.map((host) => String(host).replace(/^\d+/, (number) => this.hosts[Number(number)]!.name)).join(',');
  }

  /** tsrun on the first host. A command of it (`doctor`) stands first. */
  job(args: readonly string[], options: Options = {}): Job {
    const command = args.slice(0, args[0]?.startsWith('-') ? 0 : 1);
    return new Job([...command, '--ssh-config', this.sshConfig, ...args.slice(command.length)], {
      ...options,
      under: (words) => this.here.enter(words),
    });
  }
  /** A whole job, and what it leaves. */
  async run(args: readonly string[], options: Options = {}, timeoutMs = 120_000) {
    const job = this.job(args, options);
    const status = await job.status(timeoutMs);
    const left = await this.leftAfter(status < 0 ? 0 : LEFT_MS);
    await job.leftAfter();
    return { status, out: job.out, err: job.err, left };
  }

  /** What of jobs is left on the hosts that are on, after at most so long: processes, and folders with keys. It is ended. */
  async leftAfter(
    timeoutMs = LEFT_MS,
    hosts: readonly BedHost[] = this.hosts,
    isIgnored: (command: string) => boolean = () => false,
  ): Promise<string[]> {
    const processes = () => hosts.flatMap((host) => host.processes().map((found) => ({ ...found, host: host.name })));
    const look = () => [
      ...processes().flatMap(({ command, host }) => (isIgnored(command) ? [] : [`${host}: ${command}`])),
      ...this.keyFolders(hosts),
    ];
    await until(() => look().length === 0, timeoutMs);
    const left = look();
    for (const { pid } of processes()) endProcess(pid);
    for (const folder of this.keyFolders(hosts)) rmSync(folder, { recursive: true, force: true });
    return left;
  }

  /** Ends everything. Safe to call twice. */
  async down(): Promise<void> {
    await this.leftAfter(0);
    await Promise.all(this.hosts.map((host) => host.end()));
    this.switchProcess.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }

  private keyFolders(hosts: readonly BedHost[]): string[] {
    const names = readdirSync(os.tmpdir()).filter((name) =>
      hosts.some((host) => name.startsWith('tsrun-') && name.endsWith(`-${host.name}`)),
    );
    return names.map((name) => path.join(os.tmpdir(), name));
  }

  private async makeHosts(count: number, isolated: readonly number[]): Promise<void> {
    const places = Array.from({ length: count }, (_, number) => ({
      number,
      name: `h${number}-${this.id}`,
      address: `10.77.0.${number + 1}`,
    }));
    spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path.join(this.folder, 'user')]);
    const isLocked = /^root:!/m.test(readFileSync('/etc/shadow', 'latin1'));
    const keys = places.map(({ name }) => BedHost.prepare({ name, folder: this.folder }, isLocked));
    writeFileSync(this.knownHosts, places.map(({ name, address }, i) => `${name},${address} ${keys[i]}`).join(''));
    writeFileSync(
      path.join(this.folder, 'hosts'),
      ['127.0.0.1 localhost', '::1 localhost', ...places.map(({ name, address }) => `${address} ${name}`), ''].join('\n'),
    );
    const home = path.join(this.folder, 'home');
    mkdirSync(home);
    writeFileSync(path.join(home, '.profile'), `PATH=${path.dirname(process.execPath)}:$PATH\n`);
    const accounts = readFileSync('/etc/passwd', 'latin1').replace(/^(root:.*):[^:]*:[^:]*$/m, `$1:${home}:/bin/bash`);
    writeFileSync(path.join(this.folder, 'passwd'), accounts, 'latin1');
    const settings = ['User root', `IdentityFile ${this.folder}/user`, 'IdentitiesOnly yes', `UserKnownHostsFile ${this.knownHosts}`];
    writeFileSync(this.sshConfig, `Host *\n  ${[...settings, 'StrictHostKeyChecking yes', 'BatchMode yes'].join('\n  ')}\n`);
    const made = await Promise.allSettled(
      places.map(({ name, number, address }) => {
        const setting = { name, number, sshd: sshd!, folder: this.folder, switchPid: this.switchProcess.pid! };
        return BedHost.on(setting, { network: 'lan', name: 'eth0', address, isIsolated: isolated.includes(number) });
      }),
    );
    this.hosts.push(...made.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : [])));
    for (const one of made) if (one.status === 'rejected') throw one.reason;
  }
}
