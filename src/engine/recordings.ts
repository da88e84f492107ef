/**
 * Which timeline is recorded: begins one, ends it. Communication thread.
 *
 * Invariant: timelines have numbers, and what comes late of one (its end, the loss of its file) never ends the next.
 */
import { EventRing } from './boundary';
import type { ToThread } from './messages';
import { TimelineFile } from './timeline_file';
import { TimelineRecorder } from './timeline_recorder';

export class Recordings {
  private current?: { readonly number: number; readonly recorder: TimelineRecorder };

  /**
   * @param record tells who has something to record for whom; undefined: for nobody
   * @param onEnd the file of that timeline is complete, or lost
   * @param onLost with a sentence
   */
  constructor(
    private readonly record: (recorder: TimelineRecorder | undefined) => void,
    private readonly onEnd: (number: number) => void,
    private readonly onLost: (message: string) => void,
    private readonly makeFile = (file: string, onLost: (message: string) => void): TimelineFile => new TimelineFile(file, onLost),
  ) {}

  start({ number, start, file, marksCycles, ring }: Extract<ToThread, { kind: 'startTimeline' }>): void {
    const output = this.makeFile(file, (message) => {
      this.onLost(message);
      void this.stop(number);
    });
    this.current = { number, recorder: new TimelineRecorder(start, marksCycles, new EventRing(ring), output) };
    this.record(this.current.recorder);
  }

  /** Resolves when the file is complete. @param number of which timeline; another one goes on. Default: whichever is recorded */
  async stop(number = this.current?.number): Promise<void> {
    const ending = this.current;
    if (!ending || ending.number !== number) return;
    this.current = undefined;
    this.record(undefined);
    await ending.recorder.stop();
    this.onEnd(number);
  }
}
