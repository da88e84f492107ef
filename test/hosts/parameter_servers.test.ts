/** Parameter servers on hosts of their own: what a host that loses its power takes with it. */
import t from 'tap';
import type { BedHost } from '../helpers/bed_host';
import { CUT_OFF_MS, PEER_TIMEOUT_S } from '../helpers/endings';
import { TestBed, whyNoBed } from '../helpers/test_bed';
import { worker } from '../helpers/tsrun';

const pushes = worker('pushes_ones.js');

t.test('servers on hosts of their own', { skip: whyNoBed ?? false, timeout: 0 }, async (t) => {
  const bed = await TestBed.up(4);
  t.teardown(() => bed.down());
  const [, h1, h2, h3, h4] = bed.hosts as [BedHost, BedHost, BedHost, BedHost, BedHost];
  const options = ['-np', '2', '-H', bed.list(1, 2), '--ps', '2', '--ps-hosts', bed.list(3, 4), '--strategy', 'ps-async', '--keep-going'];
  const patience = ['--peer-timeout', String(PEER_TIMEOUT_S)];
  const ends = (text: string, rank: number) => (JSON.parse(text) as { end: Array<[number, number]> }).end[rank];

  t.test('a job that nothing happens to', async (t) => {
    const job = bed.job([...options, pushes, '@', '5']);
    t.equal(await job.status(60_000), 0, job.err);
    for (const rank of [0, 1]) t.same(ends(job.read(`result-${rank}`), 1 - rank), [5, 5]);
    t.same(await bed.leftAfter(), []);
    await job.leftAfter(0);
  });

  t.test('a host with a worker: the others end well, and lose no update of it', async (t) => {
    const job = bed.job([...options, ...patience, pushes, '@', '8', 'hold=1:3', 'hold=0:4', 'without=1']);
    await job.files(/^held-/, 2, 60_000);
    await h2.kill();
    job.put('go');
    t.equal(await job.status(60_000), 1, job.err);
    t.match(job.err, new RegExp(`host ${h2.name}\\b`));
    t.same(
      [0, 1].map((rank) => ends(job.read('result-0'), rank)),
      [
        [8, 8],
        [3, 3],
      ],
    );
    t.same(await bed.leftAfter(), []);
    await job.leftAfter(0);
    await h2.start();
  });

  t.test('a host with a server: it is named, nothing is left', async (t) => {
    const job = bed.job([...options, ...patience, pushes, '@', '1000000', 'exclaims']);
    await job.files(/^step-/, 2, 60_000);
    await h3.kill();
    t.equal(await job.status(60_000), 1, job.err);
    t.match(job.err.trimEnd().split('\n').slice(-3).join('\n'), new RegExp(`host ${h3.name}\\b`));
    t.same(await bed.leftAfter(CUT_OFF_MS), []);
    await job.leftAfter(0);
    await h3.start();
    t.ok(h1.isOn && h4.isOn);
  });
});
