/** What workers and servers say: heads and descriptions there and back; hostile ones are refused, and never believed. */
import t from 'tap';
import {
  HEAD_BYTES,
  kinds,
  MOST_TEXT_BYTES,
  type OptimizerSpec,
  readHead,
  readSpec,
  writeHead,
} from '../../../src/parameter_server/protocol';
import { randomOf } from '../../helpers/random';

const wire = { code: 'ERR_HVD_WIRE' };
const spec: OptimizerSpec = {
  name: 'a',
  mode: { kind: 'ssp', staleness: 2 },
  workers: [0, 2],
  rule: { kind: 'momentum', momentum: 0.9, nesterov: false },
  compression: 'bf16',
  pieces: [
    {
      elems: 5,
      variables: [
        { from: 0, elems: 2 },
        { from: 2, elems: 3 },
      ],
    },
  ],
};

t.test('heads of every kind come back as they were, wherever they lie', async (t) => {
  for (const kind of kinds) {
    const head = {
      kind,
      optimizer: 7,
      piece: 4_000_000_000,
      slot: 2,
      step: 123_456_789,
      learningRate: 1e-3,
      textBytes: MOST_TEXT_BYTES,
      mark: true,
    };
    const bytes = writeHead(head);
    t.equal(bytes.length, HEAD_BYTES);
    const shifted = new Uint8Array(HEAD_BYTES + 3);
    shifted.set(bytes, 3);
    t.same(readHead(shifted.subarray(3)), head);
  }
});

t.test('what is no head is refused', async (t) => {
  const good = writeHead({ kind: 'push', optimizer: 1, learningRate: 0.5 });
  const spoilt = (at: number, value: number): Uint8Array => {
    const bytes = Uint8Array.from(good);
    new DataView(bytes.buffer).setUint32(at, value, true);
    return bytes;
  };
  t.throws(() => readHead(spoilt(0, 0x31485350)), wire, 'another version');
  t.throws(() => readHead(spoilt(4, kinds.length)), wire, 'an unknown kind');
  t.throws(() => readHead(spoilt(4, 0xffffffff)), wire);
  t.throws(() => readHead(spoilt(24, MOST_TEXT_BYTES + 1)), { ...wire, message: /16777217 bytes/ }, 'a text that is too long');
  for (const rate of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const bytes = Uint8Array.from(good);
    new DataView(bytes.buffer).setFloat64(32, rate, true);
    t.throws(() => readHead(bytes), { ...wire, message: /learning rate/ });
  }
  const random = randomOf(5);
  for (let round = 0; round < 2000; round += 1) {
    const bytes = Uint8Array.from({ length: HEAD_BYTES }, () => random.below(256));
    if (random.chance(0.5)) bytes.set(good.subarray(0, 4));
    try {
      const { kind, textBytes, learningRate } = readHead(bytes);
      if (!kinds.includes(kind) || textBytes > MOST_TEXT_BYTES || !Number.isFinite(learningRate)) t.fail(`taken: ${bytes}`);
    } catch (error) {
      if ((error as { code?: string }).code !== wire.code) t.fail(String(error));
    }
  }
});

t.test('a description comes back as it was, without what is not asked for', async (t) => {
  t.same(readSpec(JSON.stringify(spec)), spec);
  t.same(readSpec(JSON.stringify({ ...spec, more: 1 })), spec);
});

t.test('hostile descriptions are refused', async (t) => {
  const hostile: Array<[string, unknown]> = [
    ['no object', null],
    ['a list', []],
    ['no name', { ...spec, name: '' }],
    ['a long name', { ...spec, name: 'n'.repeat(1025) }],
    ['a name that is none', { ...spec, name: {} }],
    ['no mode', { ...spec, mode: undefined }],
    ['an unknown mode', { ...spec, mode: { kind: 'fast' } }],
    ['no bound', { ...spec, mode: { kind: 'ssp' } }],
    ['a bound of 0', { ...spec, mode: { kind: 'ssp', staleness: 0 } }],
    ['a bound that is no whole number', { ...spec, mode: { kind: 'ssp', staleness: 1.5 } }],
    ['nobody', { ...spec, workers: [] }],
    ['a worker that is none', { ...spec, workers: [0, -1] }],
    ['workers that are a text', { ...spec, workers: '01' }],
    ['no rule', { ...spec, rule: undefined }],
    ['an unknown rule', { ...spec, rule: { kind: 'constructor' } }],
    ['a rule without settings', { ...spec, rule: { kind: 'momentum' } }],
    ['unknown compression', { ...spec, compression: 'zip' }],
    ['no pieces', { ...spec, pieces: undefined }],
    ['a piece that is none', { ...spec, pieces: [null] }],
    ['an empty piece', { ...spec, pieces: [{ elems: 0, variables: [] }] }],
    ['a piece that its variables do not fill', { ...spec, pieces: [{ elems: 5, variables: [{ from: 0, elems: 4 }] }] }],
    ['variables beyond their piece', { ...spec, pieces: [{ elems: 5, variables: [{ from: 0, elems: 6 }] }] }],
    ['variables with a gap', { ...spec, pieces: [{ elems: 5, variables: [{ from: 1, elems: 4 }] }] }],
    [
      'an empty variable',
      {
        ...spec,
        pieces: [
          {
            elems: 5,
            variables: [
              { from: 0, elems: 5 },
              { from: 5, elems: 0 },
            ],
          },
        ],
      },
    ],
    ['more than can be addressed', { ...spec, pieces: [{ elems: 2 ** 31, variables: [{ from: 0, elems: 2 ** 31 }] }] }],
    ['elements that are no number', { ...spec, pieces: [{ elems: '5', variables: [] }] }],
  ];
  for (const [what, given] of hostile) t.throws(() => readSpec(JSON.stringify(given)), wire, what);
  for (const text of ['', '{', 'undefined', '{"name":']) t.throws(() => readSpec(text), wire, text);
});
