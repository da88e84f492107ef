/** The timeline of a rank: a file in Chrome's trace format that shows what its collectives waited for. Main thread. */
import { checkTimelineFile, makeTimelineFile, timelinePath } from './engine/timeline_file';
import { UsageError } from './errors';
import { currentEngine } from './job';
import { checkOptions } from './submit';

/**
 * Records from now on, on this rank alone; the others need not call it. The file is valid JSON from the first moment on, for chrome://tracing and Perfetto. Without `%r` in the path (which stands for
 * the rank, zero-padded to the width of the highest) rank 0 alone writes, and on the other ranks nothing happens. While one is recorded: that one ends, as in Horovod.
 * @param path relative to the working directory; what is there is overwritten
 * @param options.markCycles an instant CYCLE_START for each time that requests leave. Default: false
 * @throws UsageError an option is wrong, or the file cannot be written (then what was recorded goes on); NotInitializedError
 */
export function startTimeline(path: string, options: { markCycles?: boolean } = {}): void {
  const what = 'startTimeline()';
  const engine = currentEngine(what);
  if (typeof path !== 'string' || path === '')
    throw new UsageError(`${what} takes the path of a file, but was given ${JSON.stringify(path)}.`);
  checkOptions(what, options, ['markCycles']);
  const { markCycles = false } = options;
  if (typeof markCycles !== 'boolean') throw new UsageError(`${what}: markCycles is true or false, but was ${String(markCycles)}.`);
  const { rank, size } = engine.config;
  const file = timelinePath(path, rank, size);
  if (file === undefined) return;
  checkTimelineFile(file, what);
  engine.stopTimeline();
  makeTimelineFile(file, what);
  engine.startTimeline(file, markCycles);
}

/** Blocks until the file is complete (at most 5 s). Without a timeline, and on ranks that write none: nothing. @throws NotInitializedError */
export function stopTimeline(): void {
  currentEngine('stopTimeline()').stopTimeline();
}
