/** The agent's side of its reaper. Agent process. */
import path from 'node:path';
import { environment } from '../src/config';
import { type ChildProcess, onceEnded, signalProcess, startProcess } from './process';

const DISMISS_MS = 2000;

export class Reaper {
  private readonly child: ChildProcess;
  private isDismissed = false;
  private readonly gone: Promise<void>;

  constructor(onLost: (how: string) => void) {
    this.child = startProcess({
      argv: [process.execPath, path.join(__dirname, 'reaper.js')],
      env: environment(),
      stdin: 'pipe',
      stdout: 'null',
      stderr: 'null',
    });
    this.child.stdin!.on('error', () => {});
    this.gone = new Promise((resolve) => {
      onceEnded(this.child, 'exit', (how) => {
        resolve();
        if (!this.isDismissed) onLost(`(pid ${this.pid ?? 'none'}) ${how}`);
      });
    });
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  watchJob(part: string): void {
    this.tell(`job ${part}`);
  }

  watch(group: number): void {
    this.tell(`+${group}`);
  }

  forget(group: number): void {
    this.tell(`-${group}`);
  }

  /** Nothing is left to watch; it is gone when this is through. */
  async dismiss(): Promise<void> {
    this.isDismissed = true;
    this.tell('done');
    this.child.stdin!.end();
    const timer = setTimeout(() => this.pid !== undefined && signalProcess(this.pid, 'SIGKILL'), DISMISS_MS);
    await this.gone;
    clearTimeout(timer);
  }

  private tell(line: string): void {
    if (!this.child.stdin!.destroyed && !this.child.stdin!.writableEnded) this.child.stdin!.write(`${line}\n`);
  }
}
