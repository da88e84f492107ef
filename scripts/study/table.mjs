// The results of the optimizers' study as a table beside the published ones. Pure.

/**
 * Test accuracy in percent, as published: Polishchuk, Kostiuchko, Khrystynets 2019, CIFAR-10, 150 epochs; rounded there. Nadam: "similar" to Adam.
 */
export const PUBLISHED = { sgd: 30, momentum: 40, nesterov: 25, rmsprop: 80, adam: 80, adagrad: 40, nadam: 80 };

const percent = (share) => `${(100 * share).toFixed(1)} %`;

/**
 * Markdown; the best last accuracy first.
 * @param results of optimizers, as their files hold them; those without an epoch are left out
 */
export function tableOf(results) {
  const rows = results
    .filter(({ epochs }) => epochs.length > 0)
    .map(({ optimizer, settings, epochs }) => {
      const last = epochs.at(-1);
      const best = epochs.reduce((most, epoch) => (epoch.testAccuracy > most.testAccuracy ? epoch : most));
      return { optimizer, last, best, of: settings.epochs };
    })
    .sort((a, b) => b.last.testAccuracy - a.last.testAccuracy || b.best.testAccuracy - a.best.testAccuracy);
  return [
    '| | optimizer | epochs | test accuracy, last epoch | best (epoch) | training accuracy, last epoch | published, about |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...rows.map(
      ({ optimizer, last, best, of }, i) =>
        `| ${i + 1} | ${optimizer} | ${last.epoch === of ? of : `${last.epoch} of ${of}`} | ${percent(last.testAccuracy)} | ${percent(best.testAccuracy)} (${best.epoch}) | ${percent(last.trainAccuracy)} | ${PUBLISHED[optimizer]} % |`,
    ),
  ].join('\n');
}
