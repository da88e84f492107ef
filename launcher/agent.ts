/**
 * The agent: owns the processes of one job on one host.
 *
 * A process of its own, in its own session, on every host alike: the launcher's frames come on stdin, its own go to stdout (src/wire/messages.proto). It
 * starts each rank in a process group of its own and a reaper beside itself. Whichever of launcher, agent and reaper dies, the others end everything
 * with SIGKILL; AgentDone is sent when nothing of the job is left here. Events are always sent, output only as far as the launcher gave credit. Nothing of the user's runs before
 * the launcher has heard from every host that it can (StartJob → AgentPrepared, StartRanks).
 */
import os from 'node:os';
import { environment, knobs } from '../src/config';
import { openProbe, type ProbePort, type Prober, probe } from '../src/rendezvous/probe';
import { StoreRelay } from '../src/rendezvous/relay';
import { version } from '../src/version';
import { encodeFrame, FrameParser } from '../src/wire/frame';
import { khorovod } from '../src/wire/generated/messages';
import { BEGIN_MARK } from './agent_mark';
import { findDevices, findInterfaces, findTaskset } from './devices';
import { examine } from './doctor/examine';
import { makeJobFolder, removeJobFolder } from './key_file';
import { endCarriers, jobMark, runToEnd } from './process';
import { type RankOwner, RankProcess, type RankSpec } from './rank_process';
import { DEFAULT_PATH, specsOf, whyNot } from './rank_specs';
import { Reaper } from './reaper_link';
import { BEAT_MS, Silence } from './silence';

const MAX_FRAME_BYTES = 1 << 26;
/** After SIGKILL, until ranks that the kernel does not let go are given up. */
const GIVE_UP_MS = 4000;
const EXIT_FLUSH_MS = 1000;
const TRIAL_MS = 2000;

class Agent implements RankOwner {
  private readonly ranks = new Map<string, RankProcess>();
  private readonly running = new Set<RankProcess>();
  private readonly parser = new FrameParser(MAX_FRAME_BYTES);
  private readonly probePorts: ProbePort[] = [];
  private readonly reaper = new Reaper((how) => this.endAtOnce(`its reaper ${how}`));
  private part = '';
  private outputCredit = 0;
  private graceEndsMs = 0;
  private isEnding = false;
  private isFinishing = false;
  private hasLauncher = true;
  private isSuspended = false;
  private trouble = '';
  private taskset?: string;
  private relay?: StoreRelay;
  private prober?: Prober;
  private specs: RankSpec[] = [];
  private silence = new Silence(performance.now());
  /** 0: an agent of the launcher's own machine only sees its pipe close. */
  private readonly silenceMs = Number(process.argv[2] ?? 0);

  begin(): void {
    process.stdin.on('data', (chunk: Buffer) => {
      this.silence.hear(performance.now());
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
    setInterval(() => this.beat(), BEAT_MS).unref();
    void this.tellReady();
  }

  /** A host that was cut off hears no end of its stdin: only the silence. */
  private beat(): void {
    this.send({ heartbeat: {} });
    const silentMs = this.silence.tick(performance.now());
    if (!this.isSuspended && this.silenceMs > 0 && silentMs > this.silenceMs) this.onLauncherLost();
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
        interfaces: findInterfaces(),
      },
    });
  }

  private hear(message: khorovod.ToAgent): void {
    const { start, examine, probe, go, signal, end, stdin, credit, store } = message;
    if (start) void this.prepare(start);
    else if (examine) void this.examine(examine);
    else if (probe) void this.probe(probe.targets ?? []);
    else if (go) this.startRanks(go.address ?? '');
    else if (signal) this.signal(signal.signal ?? '');
    else if (end) this.end(end.graceMs ?? 0);
    else if (stdin) for (const rank of this.running) rank.writeStdin(stdin.data ?? new Uint8Array(), stdin.end ?? false);
    else if (credit) this.addOutputCredit(credit.bytes ?? 0);
    else if (store) this.relay?.give(store.link ?? 0, store.data ?? new Uint8Array(), store.end ?? false);
  }

  private signal(name: string): void {
    if (name === 'SIGTSTP' || name === 'SIGCONT') {
      // A launcher that is stopped says nothing, and is not gone.
      this.isSuspended = name === 'SIGTSTP';
      for (const rank of this.running) rank.suspend(this.isSuspended);
    } else if (name === 'SIGUSR1' || name === 'SIGUSR2') for (const rank of this.running) rank.forward(name);
  }

  /** Makes ready what the ranks need, and says whether they can be started. */
  private async prepare(job: khorovod.StartJob.$Properties): Promise<void> {
    if (this.isEnding) return;
    const { key, size } = job;
    const place = job.place ?? 0;
    this.part = job.part ?? '';
    this.reaper.watchJob(this.part);
    const secret = { jobId: job.jobId ?? '', key: key ?? new Uint8Array() };
    const portRange = job.firstPort ? { first: job.firstPort, last: job.lastPort ?? 0 } : undefined;
    try {
      const keyFile = makeJobFolder(this.part, secret.key);
      if (!job.rendezvous) {
        const onBytes = (link: number, data: Uint8Array, end: boolean): void => this.send({ store: { link, data, end } });
        this.relay = await StoreRelay.open({ ...secret, tls: job.tls ?? false, size: size ?? 0, portRange, onBytes });
      }
      this.specs = specsOf(job, { keyFile, rendezvous: job.rendezvous || this.relay!.place, taskset: this.taskset });
    } catch (error) {
      this.fail('', `it cannot be made ready: ${(error as Error).message}`);
      return;
    }
    const problem = whyNot(job, this.specs);
    if (problem) {
      this.fail(problem.label, problem.reason);
      return;
    }
    this.prober = { ...secret, place };
    for (const address of job.addresses ?? []) this.probePorts.push(await openProbe(this.prober, address, portRange));
    if (!this.isEnding) this.send({ prepared: { ports: this.probePorts.map(({ port }) => port) } });
  }

  private async examine(asked: khorovod.Examine.$Properties): Promise<void> {
    const { prober, probePorts, relay, examined } = await examine(asked);
    this.prober = prober;
    this.probePorts.push(...probePorts);
    this.relay = relay;
    if (!this.isEnding) this.send({ examined });
  }

  private async probe(targets: readonly khorovod.Target.$Properties[]): Promise<void> {
    const asked = targets.map((target) => ({ place: target.place ?? 0, address: target.address ?? '', port: target.port ?? 0 }));
    this.send({ probed: { reached: await probe(this.prober!, asked) } });
  }

  private startRanks(address: string): void {
    for (const { close } of this.probePorts) close();
    if (this.isEnding) return;
    for (const spec of this.specs) {
      spec.env[knobs.bindAddress.env] = address;
      const rank: RankProcess = new RankProcess(spec, this, (reason) => {
        this.fail(spec.label, reason);
      });
      if (rank.pid === undefined) return;
      this.reaper.watch(rank.pid);
      this.ranks.set(spec.label, rank);
      this.running.add(rank);
      this.send({ started: { label: spec.label, pid: rank.pid, argv: spec.argv } });
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
    if (this.part !== '') void endCarriers(jobMark(this.part).entry);
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
    if (this.part !== '') {
      const left = await endCarriers(jobMark(this.part).entry);
      if (left.length > 0 && this.trouble === '') this.trouble = `processes ${left.join(', ')} do not end`;
      removeJobFolder(this.part);
    }
    this.relay?.close();
    for (const { close } of this.probePorts) close();
    await this.reaper.dismiss();
    this.send({ done: { trouble: this.trouble } }, () => process.exit(0));
    setTimeout(() => process.exit(0), EXIT_FLUSH_MS);
  }

  private send(message: khorovod.FromAgent.$Properties, onSent?: () => void): void {
    if (this.hasLauncher) process.stdout.write(encodeFrame(khorovod.FromAgent.encode(message).finish()), () => onSent?.());
    else onSent?.();
  }
}

new Agent().begin();
