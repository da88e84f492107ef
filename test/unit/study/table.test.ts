/** The results of the optimizers' study beside the published ones. */
import path from 'node:path';
import t from 'tap';

interface Result {
  readonly optimizer: string;
  readonly settings: { readonly epochs: number };
  readonly epochs: ReadonlyArray<{ readonly epoch: number; readonly testAccuracy: number; readonly trainAccuracy: number }>;
}
const { PUBLISHED, tableOf } = require(path.join(__dirname, '../../../../scripts/study/table.mjs')) as {
  PUBLISHED: Record<string, number>;
  tableOf(results: readonly Result[]): string;
};
const { OPTIMIZERS } = require(path.join(__dirname, '../../../../scripts/study/settings.mjs')) as { OPTIMIZERS: string[] };

const result = (optimizer: string, ...accuracies: number[]): Result => ({
  optimizer,
  settings: { epochs: 3 },
  epochs: accuracies.map((testAccuracy, i) => ({ epoch: i + 1, testAccuracy, trainAccuracy: testAccuracy + 0.125 })),
});

t.test('every optimizer has a published figure', async (t) => {
  t.same(Object.keys(PUBLISHED).sort(), [...OPTIMIZERS].sort());
});

t.test('by the last accuracy, with the best and its first epoch; what has not begun is left out, what has not ended says so', async (t) => {
  const lines = tableOf([result('sgd', 0.25, 0.5), result('adam', 0.5, 0.75, 0.75), result('nadam')]).split('\n');
  t.equal(lines.length, 4);
  t.equal(lines[2], '| 1 | adam | 3 | 75.0 % | 75.0 % (2) | 87.5 % | 80 % |');
  t.equal(lines[3], '| 2 | sgd | 2 of 3 | 50.0 % | 50.0 % (2) | 62.5 % | 30 % |');
  t.equal(new Set(lines.map((line) => line.split('|').length)).size, 1, 'all rows have as many cells');
});
