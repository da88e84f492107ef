import t from 'tap';
import { decide, unite } from '../../../src/tensorflow/variable_names';

const a = { name: 'a', shape: [2] };
const b = { name: 'b', shape: [3] };
const c = { name: 'c', shape: [2] };

t.test('lists are united in the order of rank 0, then of what others have besides', async (t) => {
  t.same(
    unite([
      [b, a],
      [c, a],
    ]),
    [b, a, c],
  );
  t.same(unite([[], [a]]), [a]);
});

t.test('where every rank has all the variables, all take the united list', async (t) => {
  for (const rank of [0, 1]) t.same(decide([[a], [c]], [[], []], rank), { list: [a, c] });
});

t.test('where names are strange to a rank but the shapes agree, positions count', async (t) => {
  const lists = [
    [a, b],
    [
      { name: 'a_1', shape: [2] },
      { name: 'b_1', shape: [3] },
    ],
  ];
  const lacking = [
    ['a_1', 'b_1'],
    ['a', 'b'],
  ];
  for (const rank of [0, 1]) t.same(decide(lists, lacking, rank), { list: lists[rank] });
});

t.test('else it is refused: who has what, who lacks it, what to do', async (t) => {
  const decision = decide([[a], [b, a]], [['b'], []], 1) as { refusal: string };
  t.match(
    decision.refusal,
    /rank 1 has a gradient of 'b' \[3\], but rank 0 has no trainable variable .*rank 0: 1 variables, rank 1: 2 variables.*pass minimize/,
  );
  t.same(decide([[a], [b, a]], [['b'], []], 0), decision);
});
