/**
 * The launcher's side of one agent: speaks frames with it, notices when it is gone. tsrun's process.
 *
 * The agent is a program of its own in a session of its own; its stdin and stdout carry the frames of src/wire/messages.proto, what it says on stderr is kept for the
 * report. `onGone` is called once, after the last event.
 */
import { encodeFrame, FrameParser } from '../src/wire/frame';
import { khorovod } from '../src/wire/generated/messages';
import type { AgentChannel } from './agent_channel';
import { BEGIN_MARK } from './agent_mark';

const MAX_FRAME_BYTES = 1 << 26;
const MAX_STDERR_CHARS = 4000;

export interface AgentEvents {
  onMessage(message: khorovod.FromAgent): void;
  /** `how`: for a sentence that begins with "the agent on host h (pid n)". */
  onGone(how: string): void;
}

export class AgentLink {
  private stderr = '';

  constructor(
    readonly host: string,
    private readonly channel: AgentChannel,
    private readonly events: AgentEvents,
  ) {
    channel.stdin.on('error', () => {}); // its end is told by `onEnd`
    channel.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-MAX_STDERR_CHARS);
    });
    const parser = new FrameParser(MAX_FRAME_BYTES);
    const hear = (chunk: Buffer): void => {
      for (const frame of parser.push(chunk)) this.events.onMessage(khorovod.FromAgent.decode(frame));
    };
    let preamble: Buffer | undefined = Buffer.alloc(0);
    channel.stdout.on('data', (chunk: Buffer) => {
      if (!preamble) return hear(chunk);
      preamble = Buffer.concat([preamble, chunk]);
      const at = preamble.indexOf(BEGIN_MARK);
      if (at < 0) {
        preamble = preamble.subarray(-MAX_STDERR_CHARS);
        return;
      }
      const first = preamble.subarray(at + BEGIN_MARK.length);
      preamble = undefined;
      hear(first);
    });
    // After the last frame was read.
    channel.onEnd((how) =>
      events.onGone(this.stderr === '' ? how : `${how}; it said: ${this.stderr.trim().split('\n').slice(-5).join(' | ')}`),
    );
  }

  get where(): string {
    return this.channel.where;
  }

  send(message: khorovod.ToAgent.$Properties): void {
    if (this.channel.stdin.writable) this.channel.stdin.write(encodeFrame(khorovod.ToAgent.encode(message).finish()));
  }

  kill(): void {
    this.channel.kill();
  }
}
