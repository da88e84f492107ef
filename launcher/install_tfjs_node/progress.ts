/**
 * The progress line on a terminal; nowhere else. tsrun's process.
 */

const EVERY_MS = 200;

/** As '259 MB'. */
export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

/** One line. @param total NaN: unknown */
export function progressText(name: string, bytes: number, total: number, elapsedMs: number, bytesThen: number): string {
  const rate = elapsedMs > 0 ? `, ${megabytes(((bytes - bytesThen) / elapsedMs) * 1000)}/s` : '';
  return Number.isFinite(total) && total > 0
    ? `${name}: ${Math.floor((bytes / total) * 100)} % of ${megabytes(total)}${rate}`
    : `${name}: ${megabytes(bytes)}${rate}`;
}

export class Progress {
  private start?: { atMs: number; bytes: number };
  private shownMs = 0;
  private width = 0;

  constructor(private readonly out: { isTTY?: boolean; write(text: string): unknown }) {}

  show(name: string, bytes: number, total: number): void {
    if (!this.out.isTTY) return;
    const nowMs = performance.now();
    this.start ??= { atMs: nowMs, bytes };
    if (nowMs - this.shownMs < EVERY_MS) return;
    this.shownMs = nowMs;
    const text = progressText(name, bytes, total, nowMs - this.start.atMs, this.start.bytes);
    this.out.write(`\r${text.padEnd(this.width)}`);
    this.width = text.length;
  }

  /** Clears the line. */
  end(): void {
    if (this.width > 0) this.out.write(`\r${' '.repeat(this.width)}\r`);
    this.start = undefined;
    this.width = 0;
    this.shownMs = 0;
  }
}
