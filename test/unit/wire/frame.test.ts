import fc from 'fast-check';
import t from 'tap';
import { WireError } from '../../../src/errors';
import { encodeFrame, FrameParser } from '../../../src/wire/frame';

const LIMIT = 1000;
const header = (length: number): Uint8Array => Uint8Array.of(length & 255, (length >> 8) & 255, (length >> 16) & 255, length >>> 24);
/** Cut at the given places (each taken modulo what is left). */
function cut(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (let i = 0; at < bytes.length; i += 1) {
    const length = cuts.length === 0 ? bytes.length : cuts[i % cuts.length]!;
    pieces.push(bytes.slice(at, at + length));
    at += length;
  }
  return pieces;
}

t.test('any chunking gives the frames that were encoded', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 64 }), { maxLength: 12 }),
      (payloads, cuts) => {
        const parser = new FrameParser(LIMIT);
        const frames = cut(Buffer.concat(payloads.map(encodeFrame)), cuts).flatMap((chunk) =>
          parser.push(chunk).map((frame) => [...frame]),
        );
        t.same(
          frames,
          payloads.map((payload) => [...payload]),
        );
      },
    ),
    { numRuns: 200 },
  );
});

t.test('random bytes never give a frame longer than the limit, and never more bytes than came in', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 40 }), (chunks) => {
      const parser = new FrameParser(5);
      let [cameIn, cameOut] = [0, 0];
      try {
        for (const chunk of chunks) {
          cameIn += chunk.length;
          for (const frame of parser.push(chunk)) {
            if (frame.length > 5) throw new Error(`${frame.length} bytes`);
            cameOut += 4 + frame.length;
          }
        }
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
      }
      if (cameOut > cameIn) throw new Error(`${cameOut} of ${cameIn}`);
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('a length above the limit is refused with its fourth byte, also one of 2 GiB and more; the limit itself is allowed', async (t) => {
  for (const length of [LIMIT + 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
    const parser = new FrameParser(LIMIT);
    const bytes = header(length);
    t.same(parser.push(bytes.subarray(0, 3)), []);
    t.throws(() => parser.push(bytes.subarray(3)), {
      code: 'ERR_HVD_WIRE',
      message: new RegExp(`${length} bytes was announced; ${LIMIT}`),
    });
  }
  const whole = new FrameParser(LIMIT).push(encodeFrame(new Uint8Array(LIMIT)));
  t.equal(whole[0]!.length, LIMIT);
});

t.test('after an error every further chunk is refused', async (t) => {
  const parser = new FrameParser(LIMIT);
  t.throws(() => parser.push(header(LIMIT + 1)), WireError);
  t.throws(() => parser.push(encodeFrame(Uint8Array.of(1))), WireError);
  t.throws(() => parser.push(new Uint8Array(0)), WireError);
});

t.test('a frame keeps its bytes when later chunks come', async (t) => {
  const parser = new FrameParser(LIMIT);
  const first = encodeFrame(Uint8Array.of(1, 2, 3, 4, 5, 6));
  parser.push(first.subarray(0, 7));
  const [frame] = parser.push(first.subarray(7));
  parser.push(encodeFrame(Uint8Array.of(9, 9, 9, 9, 9, 9)).subarray(0, 9));
  t.same([...frame!], [1, 2, 3, 4, 5, 6]);
});

t.test('a large frame in small chunks is gathered in linear time', async (t) => {
  const payload = new Uint8Array(8 << 20).fill(7);
  const bytes = encodeFrame(payload);
  const parser = new FrameParser(16 << 20);
  let frames: Uint8Array[] = [];
  const startedMs = performance.now();
  for (let at = 0; at < bytes.length; at += 64) frames = frames.concat(parser.push(bytes.subarray(at, at + 64)));
  t.ok(performance.now() - startedMs < 30_000, 'copying all for every chunk would take minutes');
  t.ok(Buffer.from(frames[0]!).equals(payload));
});
