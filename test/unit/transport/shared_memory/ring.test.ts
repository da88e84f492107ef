import t from 'tap';
import {
  MOST_ASIDE_PIECE_BYTES,
  MOST_PIECE_BYTES,
  type Piece,
  RING_BYTES,
  RingReader,
  RingWriter,
  STAGING_BYTES,
  TOKEN_BYTES,
} from '../../../../src/transport/shared_memory/ring';
import { randomOf } from '../../../helpers/random';

const token = new Uint8Array(TOKEN_BYTES).fill(7);
function newRing(): { words: Int32Array; bytes: Uint8Array; writer: RingWriter; reader: RingReader } {
  const buffer = new SharedArrayBuffer(RING_BYTES);
  const words = new Int32Array(buffer);
  return { words, bytes: new Uint8Array(buffer), writer: new RingWriter(words, token), reader: new RingReader(words) };
}
const heapPiece = (tag: number): Piece => ({ tag, messageBytes: 8, place: 'heap', at: 64 * tag, bytes: 8 });

t.test('pieces of any length arrive in order with their bytes, given back in any order, for many turns of the ring', async (t) => {
  const random = randomOf(11);
  const { bytes, writer, reader } = newRing();
  const due: Array<{ piece: Piece; fill: number }> = [];
  const held: Array<{ number: number; piece: Piece; fill: number }> = [];
  let [tag, staged, refused] = [0, 0, 0];
  const isWhole = ({ piece: { at, bytes: length }, fill }: { piece: Piece; fill: number }): boolean =>
    bytes[at] === fill && bytes[at + length - 1] === fill;
  while (staged < 20 * STAGING_BYTES) {
    const length = random.chance(0.5) ? 1 + random.below(300) : 1 + random.below(MOST_PIECE_BYTES);
    const at = writer.room(length);
    if (at === undefined) refused += 1;
    else {
      tag += 1;
      const piece: Piece = { tag, messageBytes: length, place: 'ring', at, bytes: length };
      bytes.fill(tag & 255, at, at + length);
      writer.publish(piece);
      due.push({ piece, fill: tag & 255 });
      staged += length;
    }
    while (random.chance(at === undefined ? 0.9 : 0.3)) {
      const piece = reader.peek();
      if (!piece) break;
      const first = due.shift()!;
      if (JSON.stringify(piece) !== JSON.stringify(first.piece)) t.same(piece, first.piece, 'what was published');
      held.push({ number: reader.take(), ...first });
    }
    while (held.length > 0 && random.chance(at === undefined ? 1 : 0.5)) {
      const [one] = held.splice(random.below(held.length), 1);
      if (!isWhole(one!)) t.fail(`piece ${one!.piece.tag} was overwritten while it was held`);
      reader.done(one!.number);
    }
  }
  t.ok(tag > 100 && refused > 10, `${tag} pieces, ${refused} times full`);
});

t.test('so many pieces are under way and no more', async (t) => {
  const { writer, reader } = newRing();
  let published = 0;
  while (writer.hasSlot) writer.publish(heapPiece(++published));
  t.equal(published, 64);
  t.equal(writer.room(1), undefined, 'no slot for a staged one either');
  t.equal(reader.peek()!.tag, 1);
  reader.done(reader.take());
  t.ok(writer.hasSlot);
});

t.test('what fills the ring leaves slots and room for messages that nobody has to ask for', async (t) => {
  const { bytes, writer, reader } = newRing();
  while (writer.room(MOST_PIECE_BYTES) !== undefined) writer.publish(heapPiece(1));
  const staged = STAGING_BYTES / MOST_PIECE_BYTES;
  while (writer.hasSlot) writer.publish(heapPiece(2));
  const places: number[] = [];
  for (let at = writer.room(100, true); at !== undefined; at = writer.room(100, true)) {
    bytes.fill(places.length + 1, at, at + 100);
    writer.publish({ tag: 0, messageBytes: 100, place: 'aside', at, bytes: 100 });
    places.push(at);
  }
  t.equal(places.length, 64, 'a slot each');
  t.ok(
    places.every((at, i) => at + 100 <= RING_BYTES && bytes[at] === i + 1 && bytes[at + 99] === i + 1),
    'none over another',
  );
  t.equal(writer.room(1), undefined);
  t.notOk(writer.hasSlot);
  const taken = Array.from({ length: 128 }, () => ({ place: reader.peek()!.place, number: reader.take() }));
  t.equal(reader.peek(), undefined);
  for (const { place, number } of taken) if (place === 'aside') reader.done(number);
  t.equal(writer.room(1, true), undefined, 'behind what is not consumed');
  for (const { number } of taken.slice(0, staged)) reader.done(number);
  t.ok(writer.room(100, true) !== undefined);
  t.notOk(writer.hasSlot, 'as many as before are under way');
  for (const { number } of taken.slice(staged, 64)) reader.done(number);
  t.ok(writer.hasSlot && writer.room(MOST_PIECE_BYTES) !== undefined);
});

t.test('of a large message that nobody has to ask for some pieces find room in a full ring', async (t) => {
  const { writer } = newRing();
  const fill = (bytes: number, isAside: boolean): number => {
    let count = 0;
    for (let at = writer.room(bytes, isAside); at !== undefined; at = writer.room(bytes, isAside)) {
      writer.publish({ tag: 0, messageBytes: bytes, place: isAside ? 'aside' : 'ring', at, bytes });
      count += 1;
    }
    return count;
  };
  t.equal(fill(MOST_PIECE_BYTES, false), 4);
  t.equal(fill(MOST_ASIDE_PIECE_BYTES, true), 4);
});

t.test('a piece on the heap is consumed when the reader is done with it', async (t) => {
  const { writer, reader } = newRing();
  const [first, second] = [writer.publish(heapPiece(1)), writer.publish(heapPiece(2))];
  const [one, other] = [reader.take(), reader.take()];
  reader.done(other);
  t.notOk(writer.isConsumed(first));
  t.notOk(writer.isConsumed(second), 'in order');
  reader.done(one);
  t.ok(writer.isConsumed(first) && writer.isConsumed(second));
});

t.test('nobody goes to sleep over news, and each sleep is ended once', async (t) => {
  const { writer, reader } = newRing();
  t.ok(reader.sleep(), 'nothing there');
  writer.publish(heapPiece(1));
  t.ok(writer.takeReaderSleep(false));
  t.notOk(writer.takeReaderSleep(false), 'once');
  t.notOk(reader.sleep(), 'there is a piece');
  t.notOk(writer.takeReaderSleep(false), 'it does not sleep');
  t.ok(writer.sleep(), 'nothing consumed since it looked');
  reader.done(reader.take());
  t.ok(reader.takeWriterSleep());
  t.notOk(reader.takeWriterSleep());
  t.notOk(writer.sleep(), 'something was consumed');
  t.ok(writer.hasSlot);
  t.ok(writer.sleep(), 'which it has seen now');
});

t.test('the token tells one memory from another, and withdrawing is seen', async (t) => {
  const { writer, reader } = newRing();
  t.ok(reader.proves(token));
  t.notOk(reader.proves(new Uint8Array(TOKEN_BYTES).fill(8)));
  t.notOk(reader.proves(new Uint8Array(0)));
  t.notOk(reader.isWithdrawn);
  writer.withdraw();
  t.ok(reader.isWithdrawn);
});
