/** One timeline after the other, where the first one's file is still being written: its end is not the next one's. */
import t from 'tap';
import { Boundary, EventRing } from '../../../src/engine/boundary';
import { Recordings } from '../../../src/engine/recordings';
import { TimelineFile, type TimelineHandle } from '../../../src/engine/timeline_file';
import type { TimelineRecorder } from '../../../src/engine/timeline_recorder';

/** A file of which nothing is written before `release`. */
class SlowFile {
  release!: (error?: Error) => void;
  private readonly held = new Promise<void>((resolve, reject) => {
    this.release = (error) => (error ? reject(error) : resolve());
  });
  readonly handle: TimelineHandle = {
    write: (async (_body: Buffer, _from: number, bytes: number) => {
      await this.held;
      return { bytesWritten: bytes };
    }) as unknown as TimelineHandle['write'],
    stat: (async () => ({ nlink: 1 })) as TimelineHandle['stat'],
    truncate: async () => undefined,
    close: async () => undefined,
  };
}

function started() {
  const main = new Boundary();
  const thread = new Boundary(main.words);
  const files: SlowFile[] = [];
  const recorded: Array<TimelineRecorder | undefined> = [];
  const lost: string[] = [];
  const recordings = new Recordings(
    (recorder) => void recorded.push(recorder),
    (number) => thread.endTimeline(number),
    (message) => void lost.push(message),
    (file, onLost) => {
      files.push(new SlowFile());
      const { handle } = files.at(-1)!;
      return new TimelineFile(file, onLost, async () => handle);
    },
  );
  const start = (number: number): void => {
    main.markTimeline(number);
    const start = { rank: 0, size: 1, hostname: 'h', startUs: 0, epochUs: 0, lastId: 0 };
    recordings.start({ kind: 'startTimeline', number, start, file: `t${number}`, marksCycles: false, ring: new EventRing().shared });
  };
  return { main, files, recorded, lost, recordings, start };
}

t.test('one that is complete too late does not end the next', async (t) => {
  const { main, files, recordings, start } = started();
  start(1);
  const first = recordings.stop();
  t.equal(main.awaitTimelineEnd(1, 1), false, 'the first is not complete');
  start(2);
  files[0]!.release();
  await first;
  t.equal(main.awaitTimelineEnd(2, 1), false, 'nor is the second, when the first is');
  const second = recordings.stop();
  files[1]!.release();
  await second;
  t.equal(main.awaitTimelineEnd(2, 1), true);
});

t.test('a file that is lost ends its own timeline, at once or late, and no other', async (t) => {
  const { main, files, recorded, lost, recordings, start } = started();
  start(1);
  const first = recordings.stop();
  start(2);
  files[0]!.release(new Error('ENOSPC'));
  await first;
  t.match(lost, [/^The timeline 't1' ends here: ENOSPC/]);
  t.ok(recorded.at(-1), 'the second is still recorded');
  t.equal(main.awaitTimelineEnd(2, 1), false);
  // What is open is written when it is stopped, and lost then.
  const second = recordings.stop();
  files[1]!.release(new Error('EIO'));
  await second;
  t.equal(lost.length, 2);
  t.equal(recorded.at(-1), undefined);
  t.equal(main.awaitTimelineEnd(2, 1), true);
});
