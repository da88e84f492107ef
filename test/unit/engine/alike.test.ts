/** Which settings ranks may have differently, and what they are told where they may not. */
import t from 'tap';
import { checkAlike, type ToldSettings } from '../../../src/engine/alike';
import { MOST_FUSED_BYTES } from '../../../src/engine/fuse';
import { RendezvousError } from '../../../src/errors';

const told = (given: Array<Partial<ToldSettings>>): ToldSettings[] =>
  given.map((one, rank) => ({ host: `h${rank}`, fusionThresholdBytes: 1000, strategy: 'ring', ...one }));

t.test('what does no harm is allowed', async (t) => {
  for (const given of [
    [{}],
    [{}, {}, {}],
    [{}, { fusionThresholdBytes: 1001 }],
    [{ fusionThresholdBytes: 0 }, { fusionThresholdBytes: 7 }],
    [{ fusionThresholdBytes: 2 * MOST_FUSED_BYTES }, { fusionThresholdBytes: MOST_FUSED_BYTES }],
    [{ strategy: 'ps-async' }, { strategy: 'ps-async' }],
  ])
    t.doesNotThrow(() => checkAlike(told(given)));
});

t.test('what does is refused, with both values, who has them, and how all get one', async (t) => {
  const refusals: ReadonlyArray<readonly [given: Array<Partial<ToldSettings>>, message: RegExp]> = [
    [
      [{}, { fusionThresholdBytes: 999 }, { fusionThresholdBytes: 2000 }, { fusionThresholdBytes: 999 }],
      /^HOROVOD_FUSION_THRESHOLD is 999 on rank 1 and 3 \(host h1 and h3\), but 1000 on rank 0 \(host h0\): .*-x HOROVOD_FUSION_THRESHOLD=1000 of tsrun/,
    ],
    [
      [{ fusionThresholdBytes: MOST_FUSED_BYTES }, { fusionThresholdBytes: MOST_FUSED_BYTES - 1 }],
      /^HOROVOD_FUSION_THRESHOLD is 1073741823 on rank 1/,
    ],
    [
      [{}, {}, { strategy: 'ps-ssp:3' }],
      /^TSRUN_STRATEGY is ps-ssp:3 on rank 2 \(host h2\), but ring on rank 0 \(host h0\): .*-x TSRUN_STRATEGY=ring of tsrun/,
    ],
  ];
  for (const [given, message] of refusals) {
    t.throws(() => checkAlike(told(given)), RendezvousError);
    t.throws(() => checkAlike(told(given)), message);
  }
});
