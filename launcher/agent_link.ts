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
import { Silence } from './silence';

const MAX_FRAME_BYTES = 1 << 26;
const MAX_STDERR_CHARS = 4000;

export interface AgentEvents {
  onMessage(message: khorovod.FromAgent): void;
  /** `how`: for a sentence that begins with "the agent on host h (pid n)". */
  onGone(how: string): void;
}

/** What an agent says once, on the way to the start of its ranks. */
export interface Answers {
  ready: khorovod.AgentReady.$Properties;
  prepared: khorovod.AgentPrepared.$Properties;
  probed: khorovod.Probed.$Properties;
  examined: khorovod.Examined.$Properties;
}
const answerKinds = ['ready', 'prepared', 'probed', 'examined'] as const;

export class AgentLink {
  /** On its host; undefined until it is ready. */
  pid?: number;
  private stderr = '';
  private hasBegun = false;
  private readonly silence = new Silence(performance.now());
  private readonly answers = new Map<keyof Answers, { promise: Promise<unknown>; resolve(value: unknown): void }>();

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
      for (const frame of parser.push(chunk)) this.take(khorovod.FromAgent.decode(frame));
    };
    let preamble: Buffer | undefined = Buffer.alloc(0);
    channel.stdout.on('data', (chunk: Buffer) => {
      this.silence.hear(performance.now());
      if (!preamble) return hear(chunk);
      preamble = Buffer.concat([preamble, chunk]);
      const at = preamble.indexOf(BEGIN_MARK);
      if (at < 0) {
        preamble = preamble.subarray(-MAX_STDERR_CHARS);
        return;
      }
      const first = preamble.subarray(at + BEGIN_MARK.length);
      preamble = undefined;
      this.hasBegun = true;
      hear(first);
    });
    // After the last frame was read.
    void channel.ended.then((how) =>
      events.onGone(this.stderr === '' ? how : `${how}; it said: ${this.stderr.trim().split('\n').slice(-5).join(' | ')}`),
    );
  }

  get where(): string {
    return this.channel.where;
  }

  send(message: khorovod.ToAgent.$Properties): void {
    if (this.channel.stdin.writable) this.channel.stdin.write(encodeFrame(khorovod.ToAgent.encode(message).finish()));
  }

  /** Waits for it without a deadline: the job keeps that. */
  answer<K extends keyof Answers>(kind: K): Promise<Answers[K]> {
    return this.answerOf(kind).promise as Promise<Answers[K]>;
  }

  /** Every BEAT_MS. @returns so long it has been silent; 0 until it has begun: a login shell may take its time */
  beat(): number {
    this.send({ heartbeat: {} });
    const silentMs = this.silence.tick(performance.now());
    return this.hasBegun ? silentMs : 0;
  }

  private take(message: khorovod.FromAgent): void {
    this.pid ??= message.ready?.pid ?? undefined;
    for (const kind of answerKinds) if (message[kind]) this.answerOf(kind).resolve(message[kind]);
    this.events.onMessage(message);
  }

  private answerOf(kind: keyof Answers): { promise: Promise<unknown>; resolve(value: unknown): void } {
    let answer = this.answers.get(kind);
    if (!answer) {
      let resolve!: (value: unknown) => void;
      const promise = new Promise((settle) => {
        resolve = settle;
      });
      answer = { promise, resolve };
      this.answers.set(kind, answer);
    }
    return answer;
  }

  kill(): void {
    this.channel.kill();
  }
}
