/**
 * Records a timeline: puts the time to what the communication thread does, takes in what the main thread did, hands both to the file from time to time.
 *
 * Communication thread; one a timeline. Invariant: nothing here waits, and no event is written by itself.
 */
import type { ErrorRecord } from '../errors';
import type { EventRing } from './boundary';
import type { Call } from './call';
import { nowUs } from './clock';
import type { Submission } from './messages';
import { Timeline, type TimelineStart } from './timeline';
import type { TimelineFile } from './timeline_file';

/** What is not in the file yet when a process is killed. */
export const FLUSH_MS = 100;

export class TimelineRecorder {
  private readonly timeline: Timeline;
  private flushTimer?: NodeJS.Timeout;

  constructor(
    start: TimelineStart,
    private readonly marksCycles: boolean,
    private readonly ring: EventRing,
    private readonly file: TimelineFile,
  ) {
    this.timeline = new Timeline(start);
    this.now();
  }

  cycle(): void {
    if (this.marksCycles) this.timeline.cycle(this.now());
  }
  submitted({ id, call }: Submission): void {
    this.timeline.submitted(id, call, this.now());
  }
  served(id: number): void {
    this.timeline.served(id, this.now());
  }
  answered(id: number): void {
    // As with what the ranks do.
    this.drain();
    this.timeline.answered(id, this.now());
  }
  ticked(rank: number, call: Call): void {
    this.timeline.ticked(rank, call, this.now());
  }
  decided(keys: readonly string[], kind: string, isQueued: boolean): void {
    this.timeline.decided(keys, kind, isQueued, this.now());
  }
  began(keys: readonly string[]): void {
    this.timeline.began(keys, this.now());
  }
  activity(keys: readonly string[], name: string): void {
    this.timeline.activity(keys, name, this.now());
  }
  ended(key: string, error?: ErrorRecord): void {
    // How much of it was exposed depends on what the main thread has done until now.
    this.drain();
    this.timeline.ended(key, error, this.now());
  }

  /** Resolves when the file is complete. */
  async stop(): Promise<void> {
    clearTimeout(this.flushTimer);
    this.drain();
    this.timeline.close(nowUs());
    this.file.append(this.timeline.take());
    await this.file.close();
  }

  private now(): number {
    this.flushTimer ??= setTimeout(() => this.flush(), FLUSH_MS);
    return nowUs();
  }

  private flush(): void {
    this.flushTimer = undefined;
    this.drain();
    this.file.append(this.timeline.take());
  }

  private drain(): void {
    this.ring.drain(this.takeMain);
    const lost = this.ring.takeLost();
    if (lost > 0) this.timeline.lost(lost, nowUs());
  }
  private readonly takeMain = (code: number, from: number, until: number, id: number): boolean => this.timeline.main(code, from, until, id);
}
