/**
 * Where the ranks' output goes: tsrun's own stdout and stderr, in whole prefixed lines, and the files of --output-filename. tsrun's process.
 *
 * Invariant: `write` calls back once what it was given has left this process, on the screen and in the file, however slow they are: that is the credit on which agents may
 * send more, so tsrun holds a bounded amount. A reader that is gone, and a file that cannot be written, hold nothing back: the job goes on, one warning says so.
 */
import { createWriteStream, fstatSync, type WriteStream } from 'node:fs';
import path from 'node:path';
import { LaunchError } from './errors';
import { folderOf, makeFolder } from './folder';
import { LineAssembler, Screen, type ScreenOptions, Tail } from './output';
import { TAIL_LINE_CHARS, TAIL_LINES } from './report';

export interface ConsoleOptions extends ScreenOptions {
  readonly outputFolder?: string;
  /** All processes of the job. */
  readonly labels: readonly string[];
}

interface Source {
  readonly name: string;
  readonly lines: LineAssembler;
  readonly stream: NodeJS.WriteStream;
  readonly screen: Screen;
  readonly file?: OutputFile;
}

export class Console {
  /** A file could not be written. */
  hasLostOutput = false;
  private readonly sources = new Map<string, Source>();
  private readonly tails = new Map<string, Tail>();
  private readonly errScreen: Screen;
  private readonly brokenStreams = new Set<NodeJS.WriteStream>();
  /** Chunks that have not left this process. */
  private unwritten = 0;
  private isAbandoned = false;
  private onIdle?: () => void;

  /** @throws LaunchError (exit 2) the folder for the output cannot be made */
  constructor(private readonly options: ConsoleOptions) {
    const outScreen = new Screen(options);
    // One terminal (or pipe) for both has one cursor.
    this.errScreen = isSame(1, 2) ? outScreen : new Screen(options);
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => this.brokenStreams.add(stream));
    for (const label of options.labels) {
      this.tails.set(label, new Tail(TAIL_LINES, TAIL_LINE_CHARS));
      for (const kind of ['stdout', 'stderr'] as const) {
        this.sources.set(`${label} ${kind}`, {
          name: `[${label}]<${kind}>`,
          lines: new LineAssembler(),
          stream: process[kind],
          screen: kind === 'stdout' ? outScreen : this.errScreen,
          file: this.openFile(label, kind),
        });
      }
    }
  }

  /** Bytes of a rank's stream. */
  write(label: string, isStderr: boolean, data: Buffer, onWritten: () => void): void {
    const source = this.sourceOf(label, isStderr);
    const segments = source.lines.push(data);
    if (isStderr) this.tails.get(label)?.push(segments);
    let waiting = 2;
    const done = (): void => {
      if (--waiting === 0) onWritten();
    };
    this.begin();
    this.print(source.stream, source.screen.render(source.name, segments, new Date()), done);
    const fileDone = (): void => {
      done();
      this.finish();
    };
    if (source.file) source.file.write(data, fileDone);
    else fileDone();
  }

  /** The rank says no more. */
  close(label: string): void {
    for (const isStderr of [false, true]) {
      const source = this.sourceOf(label, isStderr);
      const segments = source.lines.end();
      if (isStderr) this.tails.get(label)?.push(segments);
      this.print(source.stream, Buffer.concat([source.screen.render(source.name, segments, new Date()), source.screen.close(source.name)]));
      source.file?.end();
    }
  }

  /** A line of tsrun's own, on stderr. */
  say(line: string): void {
    this.print(process.stderr, this.errScreen.own(line));
  }

  stderrTail(label: string): readonly string[] {
    return this.tails.get(label)?.text ?? [];
  }

  /** Resolves once everything has left this process, or was given up. */
  flushed(): Promise<void> {
    return new Promise((resolve) => {
      this.onIdle = resolve;
      if (this.unwritten === 0 || this.isAbandoned) resolve();
    });
  }

  /** Nobody waits any longer for what is still here. */
  abandon(): void {
    this.isAbandoned = true;
    this.onIdle?.();
  }

  private sourceOf(label: string, isStderr: boolean): Source {
    return this.sources.get(`${label} ${isStderr ? 'stderr' : 'stdout'}`)!;
  }

  private print(stream: NodeJS.WriteStream, text: Buffer, onWritten: () => void = () => {}): void {
    if (text.length === 0 || this.brokenStreams.has(stream)) {
      onWritten();
      return;
    }
    this.begin();
    stream.write(text, () => {
      onWritten();
      this.finish();
    });
  }

  private begin(): void {
    this.unwritten += 1;
  }

  private finish(): void {
    this.unwritten -= 1;
    if (this.unwritten === 0) this.onIdle?.();
  }

  private openFile(label: string, kind: 'stdout' | 'stderr'): OutputFile | undefined {
    const { outputFolder, labels } = this.options;
    if (outputFolder === undefined) return undefined;
    const folder = folderOf(outputFolder, label, labels);
    try {
      makeFolder(folder);
    } catch (error) {
      throw new LaunchError(`--output-filename: the folder ${folder} cannot be made: ${(error as Error).message}`);
    }
    const file = path.join(folder, kind);
    return new OutputFile(file, (reason) => {
      if (!this.hasLostOutput) this.say(`tsrun: warning: ${file} cannot be written: ${reason}; the console goes on`);
      this.hasLostOutput = true;
    });
  }
}

/** A rank's stream in a file, byte for byte. */
class OutputFile {
  private readonly stream: WriteStream;
  private isBroken = false;
  private readonly waiting = new Set<() => void>();

  constructor(file: string, onBroken: (reason: string) => void) {
    this.stream = createWriteStream(file);
    this.stream.on('error', (error) => {
      this.isBroken = true;
      onBroken(error.message);
      for (const done of this.waiting) done();
      this.waiting.clear();
    });
  }

  write(data: Buffer, onWritten: () => void): void {
    if (this.isBroken) {
      onWritten();
      return;
    }
    this.waiting.add(onWritten);
    this.stream.write(data, (error) => {
      // With an error, the 'error' event does it, after it has been told.
      if (!error && this.waiting.delete(onWritten)) onWritten();
    });
  }

  end(): void {
    this.stream.end();
  }
}

function isSame(one: number, other: number): boolean {
  try {
    const [a, b] = [fstatSync(one), fstatSync(other)];
    return a.dev === b.dev && a.ino === b.ino;
  } catch {
    return false; // one of them is closed
  }
}
