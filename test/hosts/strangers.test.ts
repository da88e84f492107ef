/** Thousands of hostile connections to every port of a job on two hosts, from a third one and from one of the two: the sums stay right, little memory is held, nobody is let in. */
import { spawn } from 'node:child_process';
import t from 'tap';
import type { BedHost } from '../helpers/bed_host';
import { residentBytesOf, until, variableOf } from '../helpers/processes';
import { TestBed, whyNoBed } from '../helpers/test_bed';
import { worker } from '../helpers/tsrun';

const SHORT = 1000;
const LONG = 100;
const AT_ONCE = 100;
const WARM_STEPS = 800;
/** 64 KiB for each connection that is open at the same time, from two hosts, and what the garbage of a young generation comes to. */
const MOST_MORE_BYTES = 2 * AT_ONCE * (64 << 10) + (16 << 20);
const isLoopback = (address: string): boolean => address.startsWith('127.');

for (const tls of [false, true])
  t.test(tls ? 'strangers, with --tls' : 'strangers', { skip: whyNoBed ?? false, timeout: 0 }, async (t) => {
    const bed = await TestBed.up(3);
    t.teardown(() => bed.down());
    const [here, h1, h2, h3] = bed.hosts as [BedHost, BedHost, BedHost, BedHost];
    const job = bed.job([...(tls ? ['--tls'] : []), '-np', '3', '-H', bed.list(1, 2), worker('adds_exactly.js'), '@']);
    await job.files(/^ready-/, 3);

    t.same(here.listeners(), [], 'the launcher opens no port');
    const portsOf = (host: BedHost) => host.listeners().map(({ address, port }) => ({ host: address, port }));
    const between = [...portsOf(h1), ...portsOf(h2)].filter(({ host }) => !isLoopback(host));
    const inside = (host: BedHost) => portsOf(host).filter((port) => isLoopback(port.host));
    t.equal(between.length, 3, 'a port a rank');
    t.same(
      between.map(({ host }) => host),
      [h1.address, h1.address, h2.address],
      'on no other interface',
    );
    t.ok(inside(h1).length > 0 && inside(h2).length > 0, 'and one for the store');

    const processes = [h1, h2].flatMap((host) => host.processes()).filter(({ command }) => /^\S*node /.test(command));
    const anyRank = processes.find(({ pid }) => variableOf(pid, 'TSRUN_KEY_FILE'))!.pid;
    const spied = { jobId: variableOf(anyRank, 'TSRUN_JOB_ID'), keyFile: variableOf(anyRank, 'TSRUN_KEY_FILE') };
    const assail = (host: BedHost, targets: ReadonlyArray<{ host: string; port: number }>) =>
      new Promise<Record<string, number>>((resolve, reject) => {
        const orders = JSON.stringify({ targets, ...spied, tls, short: SHORT, long: LONG, atOnce: AT_ONCE });
        const [command, ...words] = host.enter([process.execPath, worker('assails.js'), orders]);
        const child = spawn(command!, words, { stdio: ['ignore', 'pipe', 'pipe'] });
        let [out, err] = ['', ''];
        child.stdout.setEncoding('utf8').on('data', (text) => (out += text));
        child.stderr.setEncoding('utf8').on('data', (text) => (err += text));
        child.on('close', (code) => (code === 0 ? resolve({ ...JSON.parse(out), targets: targets.length }) : reject(new Error(err))));
      });

    // A rank's memory swings with its garbage: the most of a while with strangers is held against the most of one without.
    let most: number[] = [];
    const watch = setInterval(() => {
      most = processes.map(({ pid }, i) => Math.max(most[i] ?? 0, residentBytesOf(pid)));
    }, 50);
    t.teardown(() => clearInterval(watch));
    t.ok(await until(() => Number(job.read('steps-0')) > WARM_STEPS, 180_000));
    const before = most;
    most = [];
    const steps = Number(job.read('steps-0'));
    const ends = await Promise.all([assail(h3, between), assail(h1, [...between, ...inside(h1)]), assail(h2, inside(h2))]);
    for (const { connections, replays, accepted, targets } of ends) {
      t.ok(connections! >= targets! * (SHORT + LONG), `${connections} connections`);
      t.ok(replays! >= (targets! * SHORT) / 20, `${replays} handshakes replayed`);
      t.equal(accepted, 0, 'none is let in');
    }
    for (const [i, { command }] of processes.entries()) {
      t.ok(
        most[i]! - before[i]! <= MOST_MORE_BYTES,
        `${((most[i]! - before[i]!) / 2 ** 20).toFixed(1)} MiB more: ${command.slice(0, 200)}`,
      );
    }
    t.ok(Number(job.read('steps-0')) > steps, 'it goes on meanwhile');
    job.put('stop');
    t.equal(await job.status(), 0, job.err);
    t.equal(job.out.match(/all sums right/g)?.length, 3);
    t.equal(job.err, '');
    t.same(await bed.leftAfter(), []);
    await job.leftAfter(0);
  });
