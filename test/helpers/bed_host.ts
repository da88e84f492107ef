/**
 * One host of the test bed: its namespaces, its sshd, its cables.
 *
 * A host is one process tree: its first process is the sshd, PID 1 of a PID namespace, so that killing it is a power loss and ends everything in it. Nothing of it has a
 * name on this machine: when its last process is gone, the kernel takes back its interfaces and mounts. It sees the disk, /tmp too, as hosts with a shared home do; /run and /dev/shm are its own.
 * The home is the bed's: what a login shell runs from the user's may not be killed in the middle, and hosts are.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type Found, listenersSeenBy, pidNamespaceOf, processesIn, until } from './processes';

/** Run as first process; says its pid as this machine sees it, before it has a /proc of its own. */
const init = `read -r pid rest </proc/self/stat
mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs -o mode=755 tmpfs /run && mount -t tmpfs -o mode=1777 tmpfs /dev/shm || exit 1
mkdir -m 755 /run/sshd
mount --bind "$FOLDER/hosts" /etc/hosts && mount --bind "$FOLDER/passwd" /etc/passwd || exit 1
echo "$NAME" >/proc/sys/kernel/hostname
cd /
echo "pid $pid"
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$SSHD" -D -e -f "$FOLDER/$NAME.sshd"`;

/** The end of the process that starts it is its own: SIGKILL of a test leaves no bed. */
export const namespaceCommand = ['setpriv', '--pdeathsig', 'KILL', 'unshare'];
export const hostNamespaces = ['--net', '--pid', '--mount', '--uts', '--ipc', '--fork', '--kill-child'];

/** Runs the lines of `ip -batch` in the network namespace of a process. */
export function ip(pid: number, ...lines: string[]): void {
  const { status, stderr } = spawnSync('nsenter', ['-t', String(pid), '--net', 'ip', '-batch', '-'], {
    input: lines.join('\n'),
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`ip: ${stderr} (${lines.join('; ')})`);
}

export interface Cable {
  readonly network: string;
  /** The host's end. */
  readonly name: string;
  readonly address: string;
  /** Reaches only those who are not isolated. */
  readonly isIsolated?: boolean;
}

export interface HostSetting {
  readonly name: string;
  readonly number: number;
  readonly sshd: string;
  readonly folder: string;
  /** A process in the switch's network namespace. */
  readonly switchPid: number;
}

export class BedHost {
  readonly name: string;
  /** What its sshd said. */
  log = '';
  private child?: ChildProcess;
  private pid = 0;
  private namespace = '';
  private readonly cables: Cable[] = [];

  private constructor(private readonly setting: HostSetting) {
    this.name = setting.name;
  }

  static async on(setting: HostSetting, cable: Cable): Promise<BedHost> {
    const host = new BedHost(setting);
    host.cables.push(cable);
    await host.start();
    return host;
  }

  get isOn(): boolean {
    return this.namespace !== '' && pidNamespaceOf(this.pid) === this.namespace;
  }

  /** Where its first interface is. */
  get address(): string {
    return this.cables[0]!.address;
  }

  /** Switches it on (again), with all its cables. */
  async start(): Promise<void> {
    const { name, folder, sshd } = this.setting;
    const [command, ...words] = [...namespaceCommand, ...hostNamespaces, 'sh', '-c', init];
    const child = spawn(command!, words, {
      env: { ...process.env, NAME: name, FOLDER: folder, SSHD: sshd },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child = child;
    let out = '';
    this.log = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
    });
    if (!(await until(() => this.log.includes('Server listening'), 90_000))) throw new Error(`${name} does not start: ${out} ${this.log}`);
    this.pid = Number(/^pid (\d+)$/m.exec(out)?.[1]);
    this.namespace = pidNamespaceOf(this.pid);
    ip(this.pid, 'link set lo up');
    for (const cable of this.cables) this.connect(cable);
  }

  /** A cable to a switch, by an interface of that name. */
  plug(cable: Cable): void {
    this.cables.push(cable);
    this.connect(cable);
  }

  /** A bridge that nothing is plugged into, as container engines make; or a cable whose other end nobody holds. */
  addLonely(kind: 'bridge' | 'cable', name: string, address: string): void {
    const other = `${name}-end`;
    const make =
      kind === 'bridge' ? [`link add ${name} type bridge`] : [`link add ${name} type veth peer name ${other}`, `link set ${other} up`];
    ip(this.pid, ...make, `address add ${address} dev ${name}`, `link set ${name} up`);
  }

  /** Limits its cables, both ways. */
  rate(megabits: number): void {
    const burst = Math.max(15_140, megabits * 125);
    for (const cable of this.cables) {
      for (const [pid, name] of [
        [this.pid, cable.name],
        [this.setting.switchPid, this.portOf(cable)],
      ] as const) {
        const words = `qdisc replace dev ${name} root tbf rate ${megabits}mbit burst ${burst} limit ${burst * 50}`.split(' ');
        const { status, stderr } = spawnSync('nsenter', ['-t', String(pid), '--net', 'tc', ...words], { encoding: 'utf8' });
        if (status !== 0) throw new Error(`tc: ${stderr}`);
      }
    }
  }

  /** Pulls its cables out: silence, no reset. */
  cut(): void {
    ip(this.setting.switchPid, ...this.cables.map((cable) => `link set ${this.portOf(cable)} down`));
  }
  heal(): void {
    ip(this.setting.switchPid, ...this.cables.map((cable) => `link set ${this.portOf(cable)} up`));
  }

  /** Power loss: nobody hears of it. */
  async kill(): Promise<void> {
    this.cut();
    await this.end();
  }

  /** @throws it does not end */
  async end(): Promise<void> {
    if (this.isOn) process.kill(this.pid, 'SIGKILL');
    if (!(await until(() => this.child?.exitCode !== null || this.child.signalCode !== null, 30_000)))
      throw new Error(`${this.name} does not end`);
    this.namespace = '';
  }

  /** The command line that runs this one there, in the current folder. */
  enter(words: readonly string[]): string[] {
    if (!this.isOn) throw new Error(`${this.name} is off`);
    const into = ['nsenter', '-t', String(this.pid), '--net', '--pid', '--mount', '--uts', '--ipc'];
    return [...into, 'sh', '-c', 'cd "$0" && exec "$@"', process.cwd(), ...words];
  }

  exec(words: readonly string[], timeoutMs = 20_000): { status: number | null; out: string; err: string } {
    const [command, ...rest] = this.enter(words);
    const { status, stdout, stderr } = spawnSync(command!, rest, { encoding: 'utf8', timeout: timeoutMs });
    return { status, out: stdout, err: stderr };
  }

  /** All that run there, but the sshd that listens. */
  processes(): Found[] {
    return this.isOn ? processesIn(this.namespace).filter(({ pid }) => pid !== this.pid) : [];
  }
  /** NaN: there is none. */
  pidOf(command: RegExp): number {
    return this.processes().find((found) => command.test(found.command))?.pid ?? Number.NaN;
  }
  /** TCP, but for its sshd's. */
  listeners(): Array<{ address: string; port: number }> {
    return listenersSeenBy(this.pid).filter(({ port }) => port !== 22);
  }

  /** Takes a port of it, by no process of its own. @returns gives it back */
  async occupy(address: string, port: number): Promise<() => void> {
    const listen = `require('net').createServer().listen(${port}, '${address}')`;
    const words = ['--pdeathsig', 'KILL', 'nsenter', '-t', String(this.pid), '--net', process.execPath, '-e', listen];
    const child = spawn('setpriv', words, { stdio: ['ignore', 'ignore', 'inherit'] });
    const isTaken = (): boolean => this.listeners().some((one) => one.address === address && one.port === port);
    if (await until(isTaken, 30_000)) return () => child.kill('SIGKILL');
    child.kill('SIGKILL');
    throw new Error(`port ${port} of ${address} on ${this.name} is not taken`);
  }

  private connect(cable: Cable): void {
    const { number, switchPid } = this.setting;
    const port = this.portOf(cable);
    // That of a host that was on before goes with its namespace, some time after its last process.
    spawnSync('nsenter', ['-t', String(switchPid), '--net', 'ip', 'link', 'delete', port]);
    ip(
      switchPid,
      `link add ${port} type veth peer name ${cable.name} netns ${this.pid}`,
      `link set ${port} master ${cable.network} up`,
      ...(cable.isIsolated ? [`link set ${port} type bridge_slave isolated on`] : []),
    );
    // The others remember it by this after a restart.
    const mac = [2, cable.network.charCodeAt(0), cable.network.length, 0, number >> 8, number & 255];
    ip(
      this.pid,
      `link set ${cable.name} address ${mac.map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`,
      `address add ${cable.address}/24 dev ${cable.name}`,
      `link set ${cable.name} up`,
    );
  }

  private portOf({ network }: Cable): string {
    return `${network}-${this.setting.number}`;
  }

  /** Makes the files of its sshd; everything that a user may set is left at its default. @returns the line of its public key */
  static prepare({ name, folder }: Pick<HostSetting, 'name' | 'folder'>, isLocked: boolean): string {
    const key = path.join(folder, `${name}.key`);
    spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', key]);
    const settings = [
      'AddressFamily inet',
      `HostKey ${key}`,
      'PidFile none',
      `AuthorizedKeysFile ${folder}/user.pub`,
      'StrictModes no',
      'PermitRootLogin prohibit-password',
      'AuthenticationMethods publickey',
      // A locked account may only log in where PAM decides.
      `UsePAM ${isLocked ? 'yes' : 'no'}`,
      'UseDNS no',
      'LogLevel VERBOSE',
    ];
    writeFileSync(path.join(folder, `${name}.sshd`), `${settings.join('\n')}\n`);
    return readFileSync(`${key}.pub`, 'utf8');
  }
}
