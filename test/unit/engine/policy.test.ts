/** What ranks were told to choose by, and what they agree on. */
import t from 'tap';
import { costModelText, defaultCostModel } from '../../../src/collective/cost_model';
import { defaultPolicy } from '../../../src/collective/select';
import { algorithms } from '../../../src/config';
import { agreedPolicy, type Told, toldAlgorithms, toldCostModel, UNREAD } from '../../../src/engine/policy';
import { RendezvousError, UsageError } from '../../../src/errors';

const model = { ...defaultCostModel, reduceSecondsPerByte: 1 };
const text = costModelText(model);
const told = (given: Partial<Told> = {}, rank = 0): Told => ({ host: `h${rank}`, algorithms: algorithms.join(), costModel: '', ...given });

t.test('settings become the algorithms among which to choose; those that contradict each other are refused', async (t) => {
  const of = (algorithm: Parameters<typeof toldAlgorithms>[0]['algorithm'], hierarchicalAllreduce?: boolean) =>
    toldAlgorithms({ algorithm, hierarchicalAllreduce });
  t.same(of('auto'), algorithms);
  t.same(of('tree'), ['tree']);
  t.same(of('auto', true), ['hierarchical']);
  t.same(
    of('auto', false),
    algorithms.filter((one) => one !== 'hierarchical'),
  );
  t.same(of('hierarchical', true), ['hierarchical']);
  t.same(of('ring', false), ['ring']);
  t.throws(() => of('ring', true), UsageError);
  t.throws(
    () => of('hierarchical', false),
    /TSRUN_ALGORITHM \(--algorithm\) is 'hierarchical', but HOROVOD_HIERARCHICAL_ALLREDUCE .* is 0/,
  );
});

t.test('rank 0 must have its file, others need not', async (t) => {
  t.equal(toldCostModel('f', text, 3), text);
  t.equal(toldCostModel('f', undefined, 3), UNREAD);
  t.throws(() => toldCostModel('f', undefined, 0), UsageError);
  t.throws(() => toldCostModel('f', '{}', 3), UsageError);
});

t.test('all go by what rank 0 was given', async (t) => {
  t.same(agreedPolicy([told(), told()]), defaultPolicy);
  t.same(agreedPolicy([told({ costModel: text }), told(), told({ costModel: UNREAD }), told({ costModel: text })]).costs, model);
  t.same(agreedPolicy([told({ algorithms: 'hierarchical' }), told({ algorithms: 'hierarchical' })]).among, ['hierarchical']);
});

t.test('ranks that were given something else are named', async (t) => {
  const other = costModelText({ ...model, reduceSecondsPerByte: 2 });
  const refusals: ReadonlyArray<readonly [given: Array<Partial<Told>>, message: RegExp]> = [
    [
      [{}, { algorithms: 'ring' }, {}, { algorithms: 'ring' }],
      /^rank 1 and 3 \(host h1 and h3\) would choose among the algorithms ring, rank 0 \(host h0\) among ring,recursive-doubling,.*Set TSRUN_ALGORITHM/,
    ],
    [[{}, {}, { costModel: text }], /^rank 2 \(host h2\) has another cost model than rank 0 \(host h0\), which has none/],
    [[{}, { costModel: UNREAD }, { costModel: UNREAD }], /^rank 1 and 2 \(host h1 and h2\) have another cost model/],
    [
      [{ costModel: text }, { costModel: other }],
      /^rank 1 \(host h1\) has another cost model than rank 0 \(host h0\), which has \{"local"/,
    ],
  ];
  for (const [given, message] of refusals) {
    const all = given.map((one, rank) => told(one, rank));
    t.throws(() => agreedPolicy(all), RendezvousError);
    t.throws(() => agreedPolicy(all), message);
  }
});
