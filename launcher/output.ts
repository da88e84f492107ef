/**
 * What the ranks say, as whole lines with prefixes. Pure.
 *
 * A `LineAssembler` per rank and stream cuts bytes into segments: a line with its newline, or a part that ends in a carriage return (a progress bar's step,
 * shown at once). Lines are bytes until they are whole, so no character is ever split. A `Screen` puts the segments of all ranks into one text. It knows
 * after whose carriage return the cursor stands, and ends that line before anybody else writes.
 *
 * A line of more than MAX_LINE_BYTES is shown in pieces of that size, each with its prefix: what is held back for a rank is bounded by it.
 */
export const MAX_LINE_BYTES = 8 << 20;

const LF = 10;
const CR = 13;
const NEWLINE = Buffer.from('\n');
const NOTHING = Buffer.alloc(0);

export class LineAssembler {
  private parts: Buffer[] = [];
  private heldBytes = 0;

  constructor(private readonly maxLineBytes = MAX_LINE_BYTES) {}

  /** The segments that are whole now: each ends in \n or \r, but pieces of an overlong line end in neither. */
  push(chunk: Buffer): Buffer[] {
    const segments: Buffer[] = [];
    let from = 0;
    for (let at = 0; at < chunk.length; at += 1) {
      if (chunk[at] !== LF && chunk[at] !== CR) continue;
      segments.push(this.take(chunk.subarray(from, at + 1)));
      from = at + 1;
    }
    if (from < chunk.length) this.hold(chunk.subarray(from), segments);
    return segments;
  }

  /** The last part, without newline, if there is one. */
  end(): Buffer[] {
    return this.heldBytes > 0 ? [this.take(NOTHING)] : [];
  }

  private hold(part: Buffer, segments: Buffer[]): void {
    this.parts.push(Buffer.from(part)); // a copy: the chunk, of which this is a small part, need not stay in memory
    this.heldBytes += part.length;
    if (this.heldBytes < this.maxLineBytes) return;
    const all = this.take(NOTHING);
    const cut = characterStart(all, this.maxLineBytes);
    segments.push(all.subarray(0, cut));
    if (cut < all.length) this.hold(all.subarray(cut), segments);
  }

  private take(last: Buffer): Buffer {
    if (this.parts.length === 0) return last;
    const all = Buffer.concat([...this.parts, last]);
    this.parts = [];
    this.heldBytes = 0;
    return all;
  }
}

/** The last place at or before `at` where a UTF-8 character begins; `at` itself in what is no UTF-8. */
function characterStart(bytes: Buffer, at: number): number {
  for (let start = at; start > Math.max(0, at - 4); start -= 1) if (start >= bytes.length || (bytes[start]! & 0xc0) !== 0x80) return start;
  return at;
}

export interface ScreenOptions {
  prefix: boolean;
  timestamp: boolean;
}

export class Screen {
  /** Whose carriage return the cursor stands after. */
  private holder: string | undefined;
  /** Sources whose last segment ended in a carriage return: a newline that follows only ends that line. */
  private readonly afterReturn = new Set<string>();

  constructor(private readonly options: ScreenOptions) {}

  /** The text of these segments. `source` is a rank's stream: `[0]<stdout>`. */
  render(source: string, segments: readonly Buffer[], now: Date): Buffer {
    const prefix = Buffer.from(this.options.prefix ? `${this.options.timestamp ? timeText(now) : ''}${source}:` : '');
    const text: Buffer[] = [];
    for (const segment of segments) {
      const last = segment.at(-1);
      if (last === LF && segment.length === 1 && this.afterReturn.delete(source)) {
        if (this.holder === source) text.push(segment); // else somebody has ended that line already
        this.holder = this.holder === source ? undefined : this.holder;
        continue;
      }
      if (this.holder !== undefined && this.holder !== source) text.push(NEWLINE);
      text.push(prefix, segment);
      if (last !== LF && last !== CR) text.push(NEWLINE);
      this.holder = last === CR ? source : undefined;
      if (last === CR) this.afterReturn.add(source);
      else this.afterReturn.delete(source);
    }
    return Buffer.concat(text);
  }

  /** The source says no more. */
  close(source: string): Buffer {
    this.afterReturn.delete(source);
    if (this.holder !== source) return NOTHING;
    this.holder = undefined;
    return NEWLINE;
  }

  /** A line of the launcher's own. */
  own(line: string): Buffer {
    const ended = this.holder === undefined ? '' : '\n';
    this.holder = undefined;
    return Buffer.from(`${ended}${line}\n`);
  }
}

/** As Horovod's (C's asctime): `Tue Nov 24 15:02:08 2026`, local time. */
function timeText(now: Date): string {
  const [day = '', month = '', date = '', year = '', time = ''] = now.toString().split(' ');
  return `${day} ${month} ${date} ${time} ${year}`;
}

/** The last lines of a stream, for the report of a failure. A line that a carriage return left is replaced by what comes after it. */
export class Tail {
  private lines: string[] = [];
  private isReplaced = false;

  constructor(
    private readonly maxLines: number,
    private readonly maxLineChars: number,
  ) {}

  push(segments: readonly Buffer[]): void {
    for (const segment of segments) {
      const line = segment.toString('utf8', 0, this.maxLineChars * 4).replace(/[\r\n]+$/, '');
      if (line === '' && this.isReplaced) {
        this.isReplaced = segment.at(-1) === CR;
        continue;
      }
      if (this.isReplaced) this.lines.pop();
      this.lines.push(line.length > this.maxLineChars ? `${line.slice(0, this.maxLineChars)}…` : line);
      if (this.lines.length > this.maxLines) this.lines.shift();
      this.isReplaced = segment.at(-1) === CR;
    }
  }

  get text(): readonly string[] {
    return this.lines.filter((line, i) => line !== '' || i > 0);
  }
}
