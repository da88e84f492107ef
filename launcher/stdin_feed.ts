/** tsrun's standard input on its way to rank 0: read only as far as the agent has given credit. tsrun's process. */
import { isInBackground } from './process_table';

export class StdinFeed {
  private credit = 0;
  private isBegun = false;

  /** `send` is told of the end once, with `isEnd`. */
  constructor(private readonly send: (data: Uint8Array, isEnd: boolean) => void) {}

  addCredit(bytes: number): void {
    this.credit += bytes;
    if (!this.isBegun) this.begin();
    else if (this.credit > 0) process.stdin.resume();
  }

  private begin(): void {
    this.isBegun = true;
    // Reading the terminal from its background would stop tsrun.
    if (process.stdin.isTTY && isInBackground()) {
      this.send(new Uint8Array(), true);
      return;
    }
    process.stdin.on('data', (data: Buffer) => {
      this.credit -= data.length;
      this.send(data, false);
      if (this.credit <= 0) process.stdin.pause();
    });
    const end = (): void => {
      process.stdin.removeAllListeners();
      process.stdin.on('error', () => {});
      this.send(new Uint8Array(), true);
    };
    process.stdin.on('end', end);
    process.stdin.on('error', end);
  }
}
