/**
 * Messages in shared memory, from one process to another: a ring of descriptors, and room in which messages are staged. No I/O; any memory that both see.
 *
 *        writer: stage the bytes, write a descriptor, count `written` up ──▶ reader: sees the count, reads the bytes, counts `consumed` up ──▶ writer: the room is free again
 *
 * A descriptor names a piece of a message: staged in the ring's own room, or lying where the writer has it, in an array that both see (its heap): such a piece is not copied, and its memory is the
 * writer's again when the reader has consumed it.
 *
 * Ordering: a piece's bytes and descriptor are written before `written` is stored, and read after it is loaded; they are read before `consumed` is stored. Atomics are sequentially consistent, so that
 * is all both sides need; it also makes going to sleep safe: who sleeps stores its flag and then looks at the count once more, who changes the count stores it and then looks at the flag.
 *
 * The reader may also be inside the writer's heap, reading and writing arrays there (`enter`, `leave`). Before the writer lets anybody else have that memory it withdraws the heap and waits until nobody is
 * inside: who enters stores its process and then looks whether the heap is withdrawn, who withdraws it stores that and then looks who is inside.
 *
 * A message that nobody has to ask for (an aside) must find room whatever waits there to be asked for: some slots and some room are for those alone.
 *
 * Invariants: counts only grow (as int32, around the end); at most SLOTS pieces are under way; each word is stored by one side only, but for the sleep flags, which the other side takes back.
 */
import { Room } from './room';

const WORDS_PER_LINE = 16;
const word = (line: number): number => line * WORDS_PER_LINE;
/** Each on a cache line of its own. */
const AT = {
  written: word(0),
  consumed: word(1),
  writerSleeps: word(2),
  readerSleeps: word(3),
  withdrawn: word(4),
  visitor: word(5),
  listenerSleeps: word(6),
  token: word(7),
} as const;
export const TOKEN_BYTES = 16;
/** Descriptors: tag, bytes of the message, place (its index here), where, bytes. */
const PLACES = ['ring', 'heap', 'aside'] as const;
const DESCRIPTOR_WORDS = 8;
/** A power of two: counts go around. */
const SLOTS = 128;
/** Those that are asked for find none when so many pieces are under way. */
const SLOTS_TO_ASK_FOR = 64;
const FIRST_DESCRIPTOR = word(8);
const STAGING_FROM = 8192;
export const STAGING_BYTES = 4 << 20;
/** A larger message is staged piece by piece. */
export const MOST_PIECE_BYTES = STAGING_BYTES / 4;
export const RING_BYTES = Math.ceil((STAGING_FROM + STAGING_BYTES) / 65536) * 65536;
const KEPT_FROM = STAGING_FROM + STAGING_BYTES;
/** What whole pages leave, for asides that find no room among the others. */
const KEPT_BYTES = RING_BYTES - KEPT_FROM;
/** As `MOST_PIECE_BYTES`, of an aside. */
export const MOST_ASIDE_PIECE_BYTES = KEPT_BYTES / 4;

export interface Piece {
  readonly tag: number;
  /** Of the whole message. */
  readonly messageBytes: number;
  /** Aside: in the ring, of a message that nobody has to ask for; its tag means nothing. */
  readonly place: (typeof PLACES)[number];
  /** In the ring: from its beginning. On the heap: from the heap's. */
  readonly at: number;
  readonly bytes: number;
}

const slotOf = (count: number): number => (count >>> 0) % SLOTS;

/** What both ends know of a ring. */
class Ring {
  protected constructor(protected readonly words: Int32Array) {}

  protected load(at: number): number {
    return Atomics.load(this.words, at);
  }
  protected store(at: number, value: number): void {
    Atomics.store(this.words, at, value);
  }
  /** @returns whether the side with that flag sleeps and is to be woken: by this caller, once */
  protected takeSleep(flag: number): boolean {
    return this.load(flag) === 1 && Atomics.exchange(this.words, flag, 0) === 1;
  }
  /** @returns false: the count is no longer what this side has seen; there is nothing to sleep for */
  protected sleepAt(flag: number, count: number, seen: number): boolean {
    this.store(flag, 1);
    if (this.load(count) === seen) return true;
    this.store(flag, 0);
    return false;
  }
  protected descriptorOf(count: number): number {
    return FIRST_DESCRIPTOR + slotOf(count) * DESCRIPTOR_WORDS;
  }
}

export class RingWriter extends Ring {
  private written = 0;
  private readonly staging = new Room(STAGING_FROM, STAGING_BYTES);
  private readonly kept = new Room(KEPT_FROM, KEPT_BYTES);
  /** By slot, of the pieces under way: the `head` of each room behind it. */
  private readonly stagingEnds = new Float64Array(SLOTS);
  private readonly keptEnds = new Float64Array(SLOTS);
  /** `consumed`, as this side has seen it. */
  private seen = 0;

  /** @param words the whole ring, zeros; `token` proves to the reader that it sees the same memory */
  constructor(words: Int32Array, token: Uint8Array) {
    super(words);
    new Uint8Array(words.buffer, words.byteOffset + 4 * AT.token, TOKEN_BYTES).set(token);
  }

  /** @param count as `publish` returned it */
  isConsumed(count: number): boolean {
    this.reclaim();
    return (this.seen - count) >> 0 >= 0;
  }

  /** Room for so many bytes, to be filled and then published. @param isAside nobody has to ask for it @returns its offset in the ring; undefined: there is none now */
  room(bytes: number, isAside = false): number | undefined {
    this.reclaim();
    if (this.underWay >= (isAside ? SLOTS : SLOTS_TO_ASK_FOR)) return undefined;
    return this.staging.take(bytes) ?? (isAside ? this.kept.take(bytes) : undefined);
  }

  /** For what is asked for. */
  get hasSlot(): boolean {
    this.reclaim();
    return this.underWay < SLOTS_TO_ASK_FOR;
  }

  /** There is a slot (`room` or `hasSlot` said so). @returns the count at which it is consumed */
  publish({ tag, messageBytes, place, at, bytes }: Piece): number {
    const slot = this.descriptorOf(this.written);
    this.words[slot] = tag | 0;
    this.words[slot + 1] = messageBytes | 0;
    this.words[slot + 2] = PLACES.indexOf(place);
    this.words[slot + 3] = at | 0;
    this.words[slot + 4] = bytes | 0;
    const index = slotOf(this.written);
    this.stagingEnds[index] = this.staging.head;
    this.keptEnds[index] = this.kept.head;
    this.written = (this.written + 1) | 0;
    this.store(AT.written, this.written);
    return this.written;
  }

  /** @param isAside what was published was such a message @returns whether the reader sleeps and is to be woken: by this caller, once */
  takeReaderSleep(isAside: boolean): boolean {
    const [isReader, isListener] = [this.takeSleep(AT.readerSleeps), isAside && this.takeSleep(AT.listenerSleeps)];
    return isReader || isListener;
  }
  /** The reader wakes this side when it has consumed something. @returns false: it has, since this side looked last */
  sleep(): boolean {
    return this.sleepAt(AT.writerSleeps, AT.consumed, this.seen);
  }

  /** What lies on the heap may be overwritten from now on: a reader that has read it since has read something else. */
  withdraw(): void {
    this.store(AT.withdrawn, 1);
  }
  /** The process that is inside the heap at this moment; 0: none. Once the heap is withdrawn none enters. */
  get visitor(): number {
    return this.load(AT.visitor);
  }

  /** Pieces. */
  private get underWay(): number {
    return (this.written - this.seen) | 0;
  }

  private reclaim(): void {
    const consumed = this.load(AT.consumed);
    if (this.seen === consumed) return;
    this.seen = consumed;
    const last = slotOf(consumed - 1);
    this.staging.tail = this.stagingEnds[last]!;
    this.kept.tail = this.keptEnds[last]!;
  }
}

export class RingReader extends Ring {
  /** Pieces taken, and those of them that are done with (in order). */
  private taken = 0;
  private consumed = 0;
  private readonly isDone = new Uint8Array(SLOTS);

  constructor(words: Int32Array) {
    super(words);
  }

  /** The memory is that of the writer who has this token. */
  proves(token: Uint8Array): boolean {
    const there = new Uint8Array(this.words.buffer, this.words.byteOffset + 4 * AT.token, TOKEN_BYTES);
    return token.length === TOKEN_BYTES && token.every((byte, i) => byte === there[i]);
  }

  /** The next piece that nobody has taken. */
  peek(): Piece | undefined {
    if (this.load(AT.written) === this.taken) return undefined;
    const slot = this.descriptorOf(this.taken);
    return {
      tag: this.words[slot]! >>> 0,
      messageBytes: this.words[slot + 1]! >>> 0,
      place: PLACES[this.words[slot + 2]!]!,
      at: this.words[slot + 3]! >>> 0,
      bytes: this.words[slot + 4]! >>> 0,
    };
  }
  /** What is taken may wait for long: others are taken and done with meanwhile. @returns its number, for `done` */
  take(): number {
    const number = this.taken;
    this.taken = (this.taken + 1) | 0;
    return number;
  }
  /** Its bytes are not needed any more. In any order. */
  done(number: number): void {
    this.isDone[slotOf(number)] = 1;
    const before = this.consumed;
    while (this.consumed !== this.taken && this.isDone[slotOf(this.consumed)]) {
      this.isDone[slotOf(this.consumed)] = 0;
      this.consumed = (this.consumed + 1) | 0;
    }
    if (this.consumed !== before) this.store(AT.consumed, this.consumed);
  }

  /** @returns whether what was read from the heap up to now may have been overwritten meanwhile */
  get isWithdrawn(): boolean {
    return this.load(AT.withdrawn) === 1;
  }

  /** @returns false: the heap is withdrawn, and nothing there may be touched */
  enter(pid: number): boolean {
    this.store(AT.visitor, pid);
    if (!this.isWithdrawn) return true;
    this.leave();
    return false;
  }
  leave(): void {
    this.store(AT.visitor, 0);
  }

  takeWriterSleep(): boolean {
    return this.takeSleep(AT.writerSleeps);
  }
  /** The writer wakes this side with its next piece. @returns false: there is one already */
  sleep(): boolean {
    return this.sleepAt(AT.readerSleeps, AT.written, this.taken);
  }
  /** The writer wakes this side with its next message that is not asked for. @returns false: there is a piece already, which may be of one */
  sleepListening(): boolean {
    return this.sleepAt(AT.listenerSleeps, AT.written, this.taken);
  }
}
