/**
 * A real Slurm of this test's own: munged, slurmctld and one slurmd with several processors, in a temporary folder and on ports of their own. Needs root (slurmd starts tasks as
 * their users) and the Debian packages slurmctld, slurmd, slurm-client, munge.
 *
 * What works in a container: no cgroups (`cgroup/v1` is named so that slurmd does not look for a mount, and nothing uses it), no accounting, the configured processors believed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { freePort } from './free_port';
import { until } from './processes';
import { whyNot } from './started';

/** Why there can be none; undefined: there can. */
export const whyNoSlurm =
  process.getuid?.() === 0 ? whyNot('munged', 'slurmctld', 'slurmd', 'srun', 'sbatch', 'salloc') : 'needs root, to start slurmd';

const CPUS = 8;
const UP_MS = 90_000;

export class Slurm {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-slurm-'));
  private readonly daemons: ChildProcess[] = [];
  private log = '';

  /** What its commands need. */
  get env(): Record<string, string> {
    return { SLURM_CONF: path.join(this.folder, 'slurm.conf') };
  }

  static async start(): Promise<Slurm> {
    const slurm = new Slurm();
    try {
      await slurm.up();
      return slurm;
    } catch (error) {
      await slurm.stop();
      throw error;
    }
  }

  private async up(): Promise<void> {
    // The daemons' own user may differ from whoever made the temporary folder.
    chmodSync(this.folder, 0o755);
    const at = (name: string): string => path.join(this.folder, name);
    for (const name of ['ctld', 'spool']) mkdirSync(at(name));
    writeFileSync(at('munge.key'), randomBytes(128), { mode: 0o600 });
    writeFileSync(at('cgroup.conf'), 'CgroupPlugin=cgroup/v1\n');
    writeFileSync(at('slurm.conf'), `${this.settings(await freePort(), await freePort()).join('\n')}\n`);
    this.daemon(
      'munged',
      '--foreground',
      `--key-file=${at('munge.key')}`,
      `--socket=${at('munge.socket')}`,
      `--pid-file=${at('munged.pid')}`,
      `--log-file=${at('munged.log')}`,
      `--seed-file=${at('munged.seed')}`,
    );
    if (!(await until(() => spawnSync('munge', ['-n', `--socket=${at('munge.socket')}`]).status === 0, UP_MS)))
      throw this.failure('munged');
    this.daemon('slurmctld', '-D', '-f', at('slurm.conf'));
    this.daemon('slurmd', '-D', '-f', at('slurm.conf'));
    const isIdle = (): boolean =>
      spawnSync('sinfo', ['-h', '-t', 'idle', '-o', '%D'], {
        env: { ...process.env, ...this.env },
        encoding: 'utf8',
        timeout: 5000,
      }).stdout?.trim() === '1';
    if (!(await until(isIdle, UP_MS))) throw this.failure('the node is not idle');
  }

  private settings(controllerPort: number, nodePort: number): string[] {
    const name = os.hostname().split('.')[0]!;
    const at = (file: string): string => path.join(this.folder, file);
    return [
      'ClusterName=khorovod-test',
      `SlurmctldHost=${name}(127.0.0.1)`,
      `SlurmctldPort=${controllerPort}`,
      `SlurmdPort=${nodePort}`,
      'SlurmUser=root',
      'AuthType=auth/munge',
      `AuthInfo=socket=${at('munge.socket')}`,
      'CredType=cred/munge',
      `StateSaveLocation=${at('ctld')}`,
      `SlurmctldPidFile=${at('slurmctld.pid')}`,
      `SlurmdPidFile=${at('slurmd.pid')}`,
      `SlurmdSpoolDir=${at('spool')}`,
      'SlurmdParameters=config_overrides',
      'ProctrackType=proctrack/linuxproc',
      'TaskPlugin=task/none',
      'JobAcctGatherType=jobacct_gather/none',
      'AccountingStorageType=accounting_storage/none',
      'SelectType=select/cons_tres',
      'SelectTypeParameters=CR_CPU',
      'SchedulerType=sched/builtin',
      'MpiDefault=none',
      'ReturnToService=2',
      'KillWait=2',
      `NodeName=${name} NodeAddr=127.0.0.1 CPUs=${CPUS} RealMemory=100 State=UNKNOWN`,
      'PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP',
    ];
  }

  private daemon(program: string, ...args: string[]): void {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const take = (text: string): void => {
      this.log = (this.log + text).slice(-20_000);
    };
    child.on('error', (error) => take(`${program}: ${error.message}\n`));
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr.setEncoding('utf8').on('data', take);
    this.daemons.push(child);
  }

  private failure(what: string): Error {
    let munge = '';
    try {
      munge = readFileSync(path.join(this.folder, 'munged.log'), 'utf8');
    } catch {
      // It got not so far.
    }
    return new Error(`Slurm does not start (${what}): ${munge.slice(-1000)}${this.log.slice(-3000)}`);
  }

  async stop(): Promise<void> {
    spawnSync('scancel', ['--user=root'], { env: { ...process.env, ...this.env }, timeout: 5000 });
    for (const daemon of [...this.daemons].reverse()) {
      daemon.kill('SIGTERM');
      if (!(await until(() => daemon.exitCode !== null || daemon.signalCode !== null, 5000))) daemon.kill('SIGKILL');
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
