/** Shows how far an epoch is: a bar that is drawn over where tsrun's own output is a terminal (tsrun tells its ranks the width: theirs is a pipe), nothing elsewhere. */
const columns = Number(process.env.TSRUN_TERMINAL_COLUMNS ?? 0);
/** "[0]<stdout>:" */
const PREFIX_COLUMNS = 14;
const LEAST_MS = 100;

export class Progress {
  private shownMs = 0;

  constructor(private readonly isShown: boolean) {}

  step(title: string, done: number, total: number, note: string): void {
    const nowMs = performance.now();
    if (!this.isShown || columns === 0 || (done < total && nowMs - this.shownMs < LEAST_MS)) return;
    this.shownMs = nowMs;
    const text = `${title} ${String(done).padStart(String(total).length)}/${total} `;
    const width = Math.max(4, Math.min(40, columns - PREFIX_COLUMNS - text.length - note.length - 3));
    const filled = Math.round((width * done) / total);
    process.stdout.write(`${text}${'█'.repeat(filled)}${'░'.repeat(width - filled)} ${note}\r`);
  }

  /** A whole line, over the bar. */
  line(text: string): void {
    if (!this.isShown) return;
    const blank = columns > 0 ? `${' '.repeat(Math.max(0, columns - PREFIX_COLUMNS - 1))}\r` : '';
    process.stdout.write(`${blank}${text}\n`);
  }
}
