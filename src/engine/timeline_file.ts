/**
 * The file of a timeline. The main thread makes it (so that a path that cannot be written is an error at the call), the communication thread appends to it, in batches.
 *
 * Invariants: before and after each write it is one valid JSON array; a write is one system call that puts records and closing bracket where the old bracket stood. Nobody waits for a disk:
 * writes run beside the thread, what comes meanwhile goes with the next. The first failure ends it, with the old bracket put back.
 */
import { closeSync, openSync, statSync, writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';
import { UsageError } from '../errors';

const HEAD = '[';
const TAIL = '\n]\n';
/** A disk that is so far behind will not catch up. */
const MOST_WAITING_CHARS = 64 << 20;

/**
 * Where this rank writes: `%r` stands for its rank, zero-padded to the width of the highest. Without it only rank 0 writes.
 * @returns undefined: this rank writes nothing
 */
export function timelinePath(given: string, rank: number, size: number): string | undefined {
  if (!given.includes('%r')) return rank === 0 ? path.resolve(given) : undefined;
  return path.resolve(given.replaceAll('%r', String(rank).padStart(String(size - 1).length, '0')));
}

/** @throws UsageError it cannot be written. What it holds stays */
export function checkTimelineFile(file: string, what: string): void {
  refusing(file, what, () => closeSync(openRegular(file, 'a')));
}

/** Makes it, or empties it. @throws UsageError it cannot be written */
export function makeTimelineFile(file: string, what: string): void {
  refusing(file, what, () => {
    const fd = openRegular(file, 'w');
    try {
      writeSync(fd, HEAD + TAIL);
    } finally {
      closeSync(fd);
    }
  });
}

/** A pipe would keep whoever opens it waiting, and nothing but a file can be overwritten. */
function openRegular(file: string, flags: 'a' | 'w'): number {
  if (statSync(file, { throwIfNoEntry: false })?.isFile() === false) throw new Error('it is there, but no regular file');
  return openSync(file, flags);
}

function refusing(file: string, what: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    throw new UsageError(
      `${what}: the timeline '${file}' cannot be written: ${(error as Error).message}. Give a file in a folder that exists and may be written to.`,
      { cause: error },
    );
  }
}

export type TimelineHandle = Pick<FileHandle, 'write' | 'truncate' | 'stat' | 'close'>;

export class TimelineFile {
  /** Where the closing bracket stands, bytes. */
  private tailAt = HEAD.length;
  private waiting: string[] = [];
  private waitingChars = 0;
  private writing?: Promise<void>;
  private handle?: TimelineHandle;
  private isLost = false;

  /** @param onLost once, with a sentence: nothing more is written */
  constructor(
    private readonly file: string,
    private readonly onLost: (message: string) => void,
    private readonly openFile: () => Promise<TimelineHandle> = () => open(file, 'r+'),
  ) {}

  append(records: readonly string[]): void {
    if (records.length === 0 || this.isLost) return;
    const text = records.join(',\n');
    this.waiting.push(text);
    this.waitingChars += text.length;
    if (this.waitingChars > MOST_WAITING_CHARS) this.lose(new Error(`the disk is ${this.waitingChars >> 20} MiB behind`));
    else this.writing ??= this.writeAll();
  }

  /** Resolves when all is written, or has failed. */
  async close(): Promise<void> {
    await this.writing;
    await this.handle?.close().catch(() => {});
    this.isLost = true;
  }

  private async writeAll(): Promise<void> {
    try {
      while (this.waiting.length > 0 && !this.isLost) {
        const text = this.waiting.join(',\n');
        this.waiting = [];
        this.waitingChars = 0;
        await this.write(text);
      }
    } catch (error) {
      this.lose(error as Error);
      await this.restore();
    } finally {
      this.writing = undefined;
    }
  }

  private async write(text: string): Promise<void> {
    this.handle ??= await this.openFile();
    if ((await this.handle.stat()).nlink === 0) throw new Error('it was removed');
    const body = Buffer.from(`${this.tailAt === HEAD.length ? '\n' : ',\n'}${text}${TAIL}`);
    for (let done = 0; done < body.length; )
      done += (await this.handle.write(body, done, body.length - done, this.tailAt + done)).bytesWritten;
    this.tailAt += body.length - TAIL.length;
  }

  private async restore(): Promise<void> {
    try {
      await this.handle?.write(Buffer.from(TAIL), 0, TAIL.length, this.tailAt);
      await this.handle?.truncate(this.tailAt + TAIL.length);
    } catch {
      // It is out of reach; what was to be said about that has been said.
    }
  }

  private lose({ message }: Error): void {
    if (this.isLost) return;
    this.isLost = true;
    this.waiting = [];
    this.onLost(`The timeline '${this.file}' ends here: ${message}. The job goes on without it.`);
  }
}
