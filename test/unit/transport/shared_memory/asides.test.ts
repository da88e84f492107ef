/** Messages that nobody asks for, from their pieces to whoever hears them. */
import t from 'tap';
import { Asides } from '../../../../src/transport/shared_memory/asides';

/** A message in pieces of so many bytes. */
function take(asides: Asides, message: Uint8Array, pieceBytes: number): void {
  for (let from = 0; from < message.length || from === 0; from += pieceBytes) {
    const piece = message.subarray(from, from + pieceBytes);
    asides.take({ messageBytes: message.length, bytes: piece.length }, (into) => into.set(piece));
  }
}

t.test('messages are whole, whatever their pieces, and heard once', async (t) => {
  const asides = new Asides();
  const heard: number[][] = [];
  asides.hear = (bytes) => void heard.push([...bytes]);
  take(asides, Uint8Array.of(1, 2, 3, 4, 5), 2);
  take(asides, new Uint8Array(0), 1);
  take(asides, Uint8Array.of(6), 1);
  asides.passOn();
  asides.passOn();
  t.same(heard, [[1, 2, 3, 4, 5], [], [6]]);
  asides.take({ messageBytes: 2, bytes: 1 }, (into) => into.fill(7));
  asides.passOn();
  t.equal(heard.length, 3, 'not before it is whole');
});

t.test('what comes while one is heard is heard behind those before it', async (t) => {
  const asides = new Asides();
  const heard: number[] = [];
  asides.hear = ([number]) => {
    heard.push(number!);
    if (number === 1) take(asides, Uint8Array.of(3), 1);
    asides.passOn();
  };
  take(asides, Uint8Array.of(1), 1);
  take(asides, Uint8Array.of(2), 1);
  asides.passOn();
  t.same(heard, [1, 2, 3]);
});

t.test('who throws leaves the rest to be heard', async (t) => {
  const asides = new Asides();
  const heard: number[] = [];
  asides.hear = ([number]) => {
    heard.push(number!);
    if (number === 1) throw new Error('one');
  };
  for (const number of [1, 2]) take(asides, Uint8Array.of(number), 1);
  t.throws(() => asides.passOn(), /one/);
  asides.passOn();
  t.same(heard, [1, 2]);
});
