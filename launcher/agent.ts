/**
 * The agent: owns the processes of one job on one host.
 *
 * A process of its own, in its own session, on every host alike: the launcher's frames come on stdin, its own go to stdout (src/wire/messages.proto). It
 * starts each rank in a process group of its own and a reaper beside itself. Whichever of launcher, agent and reaper dies, the others end everything
 * with SIGKILL; AgentDone is sent when nothing of the job is left here. Events are always sent, output only as far as the launcher gave credit.
 */
import os from 'node:os';
import { environment } from '../src/config';
import { version } from '../src/version';
import { encodeFrame, FrameParser } from '../src/wire/frame';
import { khorovod } from '../src/wire/generated/messages';
import { BEGIN_MARK } from './agent_mark';
import { findDevices, findTaskset } from './devices';
import { errorFileOf, makeJobFolder, removeJobFolder } from './key_file';
import { endCarriers, jobMark, runToEnd, whyNotStartable } from './process';
import { type RankOwner, RankProcess } from './rank_process';
import { Reaper } from './reaper_link';

const MAX_FRAME_BYTES = 1 << 26;
/** After SIGKILL, until ranks that the kernel does not let go are given up. */
const GIVE_UP_MS = 4000;
const EXIT_FLUSH_MS = 1000;
const TRIAL_MS = 2000;
/** Where a shell looks that is told nothing. */
const DEFAULT_PATH = '/usr/local/bin:/usr/bin:/bin';

class Agent implements RankOwner {
  private readonly ranks = new Map<string, RankProcess>();
  private readonly running = new Set<RankProcess>();
  private readonly parser = new FrameParser(MAX_FRAME_BYTES);
  private readonly reaper = new Reaper((how) => this.endAtOnce(`its reaper ${how}`));
  private jobId = '';
  private outputCredit = 0;
  private graceEndsMs = 0;
  private isEnding = false;
  private isFinishing = false;
  private hasLauncher = true;
  private trouble = '';
  private taskset?: string;

  begin(): void {
    process.stdin.on('data', (chunk: Buffer) => {
      try {
        for (const frame of this.parser.push(chunk)) this.hear(khorovod.ToAgent.decode(frame));
      } catch (error) {
        this.endAtOnce(`it could not follow the launcher: ${(error as Error).message}`);
      }
    });
    process.stdin.on('end', () => this.onLauncherLost());
    process.stdin.on('error', () => this.onLauncherLost());
    process.stdout.on('error', () => this.onLauncherLost());
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => this.endAtOnce(`it was ended by ${signal}`));
    for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => {});
    process.on('uncaughtException', (error) => {
      process.stderr.write(`${error.stack ?? error.message}\n`);
      for (const rank of this.running) rank.end('SIGKILL');
      process.exit(1); // the reaper does the rest
    });
    process.stdout.write(BEGIN_MARK);
    void this.tellReady();
  }

  private async tellReady(): Promise<void> {
    const { gpus, cpus, numaNodes } = findDevices(environment().CUDA_VISIBLE_DEVICES);
    this.taskset = findTaskset(environment().PATH ?? DEFAULT_PATH);
    const trial = cpus.length > 0 && this.taskset ? [this.taskset, '-c', String(cpus[0]), 'true'] : undefined;
    // Other programs of that name take other options, and a sandbox may forbid it.
    const canBind = trial !== undefined && (await runToEnd(trial, environment(), TRIAL_MS)).isOk;
    this.send({
      ready: {
        version,
        host: os.hostname(),
        node: process.version,
        pid: process.pid,
        reaperPid: this.reaper.pid,
        gpus: [...gpus],
        cpus: canBind ? [...cpus] : [],
        numaNodes: numaNodes.map((node) => ({ cpus: [...node] })),
      },
    });
  }

  private hear({ start, signal, end, stdin, credit }: khorovod.ToAgent): void {
    if (start) this.start(start);
    else if (signal) for (const rank of this.running) rank.forward(signal.signal === 'SIGUSR1' ? 'SIGUSR1' : 'SIGUSR2');
    else if (end) this.end(end.graceMs ?? 0);
    else if (stdin) for (const rank of this.running) rank.writeStdin(stdin.data ?? new Uint8Array(), stdin.end ?? false);
    else if (credit) this.addOutputCredit(credit.bytes ?? 0);
  }

  private start(job: khorovod.StartJob.$Properties): void {
    if (this.isEnding) return;
    const jobId = job.jobId ?? '';
    this.jobId = jobId;
    this.reaper.watchJob(jobId);
    let keyFile: string;
    try {
      keyFile = makeJobFolder(jobId, job.key ?? new Uint8Array());
    } catch (error) {
      this.fail('', `the folder of the job key cannot be made: ${(error as Error).message}`);
      return;
    }
    const common = { ...(job.adds ? environment() : {}), ...environmentOf(job.env) };
    const cwd = job.wdir || process.cwd();
    const specs = (job.ranks ?? []).map((rank) => {
      const label = rank.label ?? '';
      const errorFile = errorFileOf(jobId, label);
      const own: Record<string, string> = {
        ...common,
        ...environmentOf(rank.env),
        TSRUN_JOB_ID: jobId,
        [jobMark(jobId).name]: '1',
        TSRUN_KEY_FILE: keyFile,
        TSRUN_ERROR_FILE: errorFile,
      };
      const cpus = rank.cpus ?? [];
      const binding = cpus.length > 0 ? [this.taskset!, '-c', cpus.join(',')] : [];
      return { label, argv: rank.argv ?? [], binding, env: own, cwd, hasStdin: rank.stdin ?? false, errorFile };
    });
    for (const { label, argv, env: own } of specs) {
      const reason = whyNotStartable(argv[0] ?? '', own.PATH ?? DEFAULT_PATH, cwd);
      if (reason === undefined) continue;
      this.fail(label, reason);
      return;
    }
    for (const spec of specs) {
      const rank: RankProcess = new RankProcess(spec, this, (reason) => {
        this.fail(spec.label, reason);
      });
      if (rank.pid === undefined) return;
      this.reaper.watch(rank.pid);
      this.ranks.set(spec.label, rank);
      this.running.add(rank);
      this.send({ started: { label: spec.label, pid: rank.pid } });
    }
  }

  private fail(label: string, reason: string): void {
    this.send({ cannotStart: { label, reason } });
    this.end(0);
  }

  hasOutputCredit(): boolean {
    return this.outputCredit > 0;
  }

  isInGrace(): boolean {
    return performance.now() < this.graceEndsMs;
  }

  onOutput(rank: RankProcess, isStderr: boolean, data: Buffer): void {
    if (!this.hasLauncher) return;
    this.outputCredit -= data.length;
    this.send({ output: { label: rank.spec.label, stderr: isStderr, data } });
    if (this.outputCredit <= 0) for (const other of this.ranks.values()) other.pauseOutput();
  }

  onStdinCredit(bytes: number): void {
    this.send({ credit: { bytes } });
  }

  onEnded(rank: RankProcess, end: khorovod.RankEnded.$Properties): void {
    this.running.delete(rank);
    this.reaper.forget(rank.pid!);
    this.send({ ended: end });
    if (this.running.size === 0) void this.finish();
  }

  private addOutputCredit(bytes: number): void {
    const hadNone = this.outputCredit <= 0;
    this.outputCredit += bytes;
    if (hadNone && this.outputCredit > 0) for (const rank of this.ranks.values()) rank.resumeOutput();
  }

  /** SIGTERM, after the grace SIGKILL; a grace of 0 cuts one short that runs already. */
  private end(graceMs: number): void {
    this.isEnding = true;
    if (graceMs > 0) {
      this.graceEndsMs = performance.now() + graceMs;
      for (const rank of this.running) rank.end('SIGTERM');
      setTimeout(() => this.kill(), graceMs);
    } else this.kill();
    if (this.running.size === 0) void this.finish();
  }

  private kill(): void {
    this.graceEndsMs = 0;
    // What is left in the pipes of the dead is little, and must not wait for a console that stands still.
    this.addOutputCredit(Number.MAX_SAFE_INTEGER);
    for (const rank of this.running) rank.end('SIGKILL');
    if (this.jobId !== '') void endCarriers(jobMark(this.jobId).entry);
    // What has exited only waits for its output to be read.
    setTimeout(() => {
      if ([...this.running].some((rank) => !rank.hasExited)) void this.finish();
    }, GIVE_UP_MS);
  }

  private endAtOnce(trouble: string): void {
    if (this.trouble === '') this.trouble = trouble;
    this.end(0);
  }

  private onLauncherLost(): void {
    if (!this.hasLauncher) return;
    this.hasLauncher = false;
    this.addOutputCredit(Number.MAX_SAFE_INTEGER);
    this.endAtOnce('the launcher is gone');
  }

  /** Nothing may be left when this is through. */
  private async finish(): Promise<void> {
    if (this.isFinishing) return;
    this.isFinishing = true;
    if (this.jobId !== '') {
      const left = await endCarriers(jobMark(this.jobId).entry);
      if (left.length > 0 && this.trouble === '') this.trouble = `processes ${left.join(', ')} do not end`;
      removeJobFolder(this.jobId);
    }
    await this.reaper.dismiss();
    this.send({ done: { trouble: this.trouble } }, () => process.exit(0));
    setTimeout(() => process.exit(0), EXIT_FLUSH_MS);
  }

  private send(message: khorovod.FromAgent.$Properties, onSent?: () => void): void {
    if (this.hasLauncher) process.stdout.write(encodeFrame(khorovod.FromAgent.encode(message).finish()), () => onSent?.());
    else onSent?.();
  }
}

function environmentOf(list: khorovod.EnvVar.$Properties[] | null | undefined): Record<string, string> {
  return Object.fromEntries((list ?? []).map(({ name, value }) => [name ?? '', value ?? '']));
}

new Agent().begin();
