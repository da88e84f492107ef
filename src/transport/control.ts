/** A control link. */
import type { Socket } from 'node:net';
import { encodeFrame, FrameParser } from '../wire/frame';
import { khorovod } from '../wire/generated/messages';

export class ControlLink {
  onMessage: (message: khorovod.IControl) => void = () => {};
  onClose: (error: Error | undefined) => void = () => {};
  lastHeardMs = performance.now();
  private readonly parser = new FrameParser(16 << 20);
  constructor(
    readonly peer: number,
    private readonly socket: Socket,
  ) {
    let cause: Error | undefined;
    socket.on('error', (error) => {
      cause = error;
    });
    socket.on('close', () => this.onClose(cause));
    socket.on('end', () => socket.destroy());
    socket.on('data', (chunk) => {
      this.lastHeardMs = performance.now();
      try {
        for (const frame of this.parser.push(chunk as Buffer)) this.onMessage(khorovod.Control.decode(frame));
      } catch (error) {
        cause = error as Error;
        socket.destroy();
      }
    });
    setImmediate(() => socket.resume());
  }
  send(message: khorovod.IControl): void {
    if (!this.socket.destroyed) this.socket.write(encodeFrame(khorovod.Control.encode(message).finish()));
  }
  flush(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.socket.end(() => {
        clearTimeout(timer);
        resolve();
      });
      if (this.socket.destroyed) {
        clearTimeout(timer);
        resolve();
      }
    });
  }
  destroy(): void {
    this.socket.destroy();
  }
}
