/**
 * The launcher's side of one agent: starts it, speaks frames with it, notices when it is gone. tsrun's process.
 *
 * The agent is a program of its own in a session of its own; its stdin and stdout carry the frames of src/wire/messages.proto, what it says on stderr is kept for the
 * report. `onGone` is called once, after the last event.
 */
import path from 'node:path';
import { environment } from '../src/config';
import { encodeFrame, FrameParser } from '../src/wire/frame';
import { khorovod } from '../src/wire/generated/messages';
import { type ChildProcess, onceEnded, startProcess } from './process';

const MAX_FRAME_BYTES = 1 << 26;
const MAX_STDERR_CHARS = 4000;

export interface AgentEvents {
  onMessage(message: khorovod.FromAgent): void;
  /** `how`: for a sentence that begins with "the agent on host h (pid n)". */
  onGone(how: string): void;
}

export class AgentLink {
  private readonly child: ChildProcess;
  private stderr = '';

  constructor(
    readonly host: string,
    private readonly events: AgentEvents,
  ) {
    this.child = startProcess({
      argv: [process.execPath, path.join(__dirname, 'agent.js')],
      env: environment(),
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'pipe',
    });
    this.child.stdin!.on('error', () => {}); // its end is told by 'close'
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-MAX_STDERR_CHARS);
    });
    const parser = new FrameParser(MAX_FRAME_BYTES);
    this.child.stdout!.on('data', (chunk: Buffer) => {
      for (const frame of parser.push(chunk)) this.events.onMessage(khorovod.FromAgent.decode(frame));
    });
    // After the last frame was read.
    onceEnded(this.child, 'close', (how) =>
      events.onGone(this.stderr === '' ? how : `${how}; it said: ${this.stderr.trim().split('\n').slice(-5).join(' | ')}`),
    );
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  send(message: khorovod.ToAgent.$Properties): void {
    if (this.child.stdin!.writable) this.child.stdin!.write(encodeFrame(khorovod.ToAgent.encode(message).finish()));
  }
}
