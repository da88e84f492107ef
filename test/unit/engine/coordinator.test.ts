/** What the coordinator adds to the negotiator's decisions. */
import t from 'tap';
import { readConfig } from '../../../src/config';
import { Coordinator } from '../../../src/engine/coordinator';
import type { Session } from '../../../src/engine/session';
import { ASIDE_TAG } from '../../../src/transport/shared_memory/ring';
import { call, hostOf } from './calls';

t.test('operations are numbered round and round, without the number of messages that belong to none', async (t) => {
  const tags: number[] = [];
  const session = { control: { sendAll() {} }, hostOf } as unknown as Session;
  const coordinator = new Coordinator(
    readConfig({ HOROVOD_RANK: '0', HOROVOD_SIZE: '1' }),
    session,
    { combine: (_, [operand]) => operand! },
    {
      takeResponses: (list) => tags.push(...list.map(({ tag }) => tag!)),
      fail(error) {
        throw error;
      },
    },
  );
  (coordinator as unknown as { lastTag: number }).lastTag = ASIDE_TAG - 2;
  for (const name of ['a', 'b', 'c']) coordinator.hear(0, { full: [call(name)], cached: [] });
  t.same(tags, [ASIDE_TAG - 1, 0, 1]);
});
