// What negotiating costs the communication threads, a step: `node scripts/measure_negotiation.mjs [-np 4] [--tensors 200] [--steps 2000] [--rounds 5]` (after `npm run build`).
//
// Every rank submits the same tensors again, as a training step does; all is named by cached ids. Two ways of looking, neither of which changes what is measured:
//   negotiation: conductors, coordinator and codec of all ranks in this one process, over links of bytes, up to where an operation would begin. Each rank's share is the processor time of its own
//                calls: looking up and encoding its requests, on rank 0 hearing all ranks, deciding and encoding the answers, elsewhere decoding them. No sockets, no data, no results.
//   whole job:   real ranks and threads (tsrun), all the processor time of each communication thread as Linux counts it: besides negotiation the sockets, a message a tensor from the main
//                thread, packing, the allreduce itself (one float a tensor), and 200 outcomes. `one group` is the same data as one call: what is left when there is one tensor to negotiate.
// Printed is processor time, a mean over the steps of a round: the median of the rounds, and the lowest and highest. Verified: all steps but the first were negotiated by ids alone, all sums are right.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median } from './measuring.mjs';

const file = fileURLToPath(import.meta.url);
const root = path.dirname(path.dirname(file));
const require = createRequire(import.meta.url);
const built = (name) => require(path.join(root, 'dist/src', name));
const RUN_LIMIT_MS = 300_000;

const option = (value) => ({ type: 'string', default: value });
const { values } = parseArgs({
  args: process.argv.slice(2).map((word) => (word === '-np' ? '--np' : word)),
  options: { np: option('4'), tensors: option('200'), steps: option('2000'), rounds: option('5'), worker: { type: 'boolean' } },
});
const [np, tensors, steps, rounds] = [values.np, values.tensors, values.steps, values.rounds].map(Number);
const WARM_UP_STEPS = 200;

// ───── negotiation alone ─────

const cpuMsOfThisProcess = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** Bytes from one rank to another, delivered when asked to. */
class Link {
  lastHeardMs = performance.now();
  queue = [];
  onMessage = () => {};
  constructor(peer, { encodeFrame, FrameParser }, { khorovod }) {
    Object.assign(this, { peer, encodeFrame, khorovod, parser: new FrameParser(16 << 20) });
  }
  send(message) {
    this.other.queue.push(this.encodeFrame(this.khorovod.Control.encode(message).finish()));
  }
  deliver() {
    for (const frame of this.parser.push(this.queue.shift())) this.onMessage(this.khorovod.Control.decode(frame));
  }
}

function makeRank(rank) {
  const [{ Conductor }, { ControlPlane }, { Boundary }] = ['engine/conductor', 'engine/control_plane', 'engine/boundary'].map(built);
  // The cycle time only gathers what is pending together: here a step leaves when it is told to.
  const config = built('config').readConfig({ HOROVOD_RANK: `${rank}`, HOROVOD_SIZE: `${np}`, HOROVOD_CYCLE_TIME: '10000' });
  const boundary = new Boundary();
  const conductor = new Conductor(config, boundary, () => {});
  const hostOf = () => 'host';
  const control = new ControlPlane(rank, hostOf, 1e9, {
    onMessage: (from, message) => conductor.hear(from, message),
    onFailure: (error) => {
      throw error;
    },
    onDeparted: () => {},
  });
  const made = { conductor, control, links: [], decided: 0, finish: undefined, cpuMs: 0 };
  const members = Array.from({ length: np }, (_, member) => member);
  const run = (_, submissions) =>
    new Promise((resolve) => {
      made.decided += submissions.length;
      made.finish = () => resolve(submissions.map(() => ({})));
    });
  made.begin = () => conductor.begin({ control, hostOf, transport: { abort: () => {} } }, { run, membersOf: () => members });
  made.submissions = Array.from({ length: tensors }, (_, slot) => ({
    id: 1 + slot,
    slot,
    call: callOf(slot),
    byteOffset: 0,
    bytes: 4,
    isAwaited: false,
  }));
  made.freeAll = () => {
    for (const { slot } of made.submissions) boundary.free(slot);
  };
  made.prepare = () => {
    for (const { slot } of made.submissions) boundary.markPending(slot);
    made.next = made.submissions.map((submission) => structuredClone(submission));
  };
  made.submitAll = () => {
    for (const submission of made.next) conductor.submit(submission);
    conductor.flush();
  };
  return made;
}

const callOf = (slot) => ({
  name: `gradient.of.layer.${slot}/kernel`,
  kind: 'allreduce',
  dtype: 'float32',
  parts: [[1]],
  op: 'average',
  prescale: 1,
  postscale: 1,
  root: -1,
  processSet: 0,
  grouped: false,
  timeoutMs: 0,
  compression: 'none',
  splits: [],
});

/** @returns for rank 0 and for the mean of the others, milliseconds of one step */
async function negotiate() {
  const ranks = Array.from({ length: np }, (_, rank) => makeRank(rank));
  const [frame, messages] = [built('wire/frame'), built('wire/generated/messages')];
  let bytes = 0;
  for (const [rank, one] of ranks.entries()) {
    if (rank === 0) continue;
    const [there, here] = [new Link(rank, frame, messages), new Link(0, frame, messages)];
    [there.other, here.other] = [here, there];
    for (const [owner, link] of [
      [ranks[0], there],
      [one, here],
    ]) {
      owner.links.push(link);
      owner.control.add(link);
    }
  }
  for (const one of ranks) one.begin();
  let isWarm = false;
  const timed = (rank, act) => {
    const from = cpuMsOfThisProcess();
    act();
    if (isWarm) rank.cpuMs += cpuMsOfThisProcess() - from;
  };
  for (let step = 0; step < WARM_UP_STEPS + steps; step += 1) {
    bytes = 0;
    isWarm = step >= WARM_UP_STEPS;
    for (const rank of ranks) rank.prepare();
    for (const rank of ranks) timed(rank, rank.submitAll);
    // The others' requests, then the answers.
    for (const rank of ranks) {
      timed(rank, () => {
        for (const link of rank.links) {
          while (link.queue.length > 0) {
            bytes += link.queue[0].length;
            link.deliver();
          }
        }
      });
    }
    while (ranks.some(({ finish }) => finish)) {
      for (const rank of ranks) {
        const { finish } = rank;
        rank.finish = undefined;
        finish?.();
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const rank of ranks) rank.freeAll();
  }
  const all = (WARM_UP_STEPS + steps) * tensors;
  if (ranks.some(({ decided }) => decided !== all)) throw new Error('not every call was decided');
  // An id takes at most 3 bytes; a name alone has more than 20.
  if (bytes > 2 * (np - 1) * (tensors * 3 + 100))
    throw new Error(`a cached step has ${bytes} bytes on the wire: it was not negotiated by ids`);
  const [zero, ...others] = ranks.map(({ cpuMs }) => cpuMs / steps);
  return { 'rank 0': zero, 'the others': others.reduce((sum, ms) => sum + ms, 0) / others.length };
}

// ───── a whole job ─────

const threads = () => new Set(readdirSync('/proc/self/task'));
const cpuMs = (thread) => Number(readFileSync(`/proc/self/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e6;

async function work() {
  const hvd = (await import(path.join(root, 'dist/rank/index.js'))).default;
  const before = threads();
  hvd.init();
  const made = [...threads()].filter((thread) => !before.has(thread));
  const gradients = Array.from({ length: tensors }, (_, i) => Float32Array.of(i + hvd.rank()));
  const names = gradients.map((_, i) => `gradient.of.layer.${i}/kernel`);
  const right = (sums) => sums.every((sum, i) => sum[0] === np * i + (np * (np - 1)) / 2);
  const ways = {
    'by tensors': () => {
      const handles = gradients.map((gradient, i) => hvd.allreduceAsync(gradient, { op: hvd.Sum, name: names[i] }));
      return handles.map((handle) => hvd.synchronize(handle));
    },
    'one group': () => hvd.synchronize(hvd.groupedAllreduceAsync(gradients, { op: hvd.Sum, name: 'group' })),
  };
  const found = {};
  for (const [way, step] of Object.entries(ways)) {
    for (let i = 0; i < WARM_UP_STEPS; i += 1) step();
    hvd.barrier();
    const started = made.map(cpuMs);
    for (let i = 0; i < steps; i += 1) if (!right(step())) throw new Error(`a sum of step ${i} is wrong`);
    hvd.barrier();
    // The communication thread is what `init` has made and what works.
    found[way] = Math.max(...made.map((thread, i) => cpuMs(thread) - started[i])) / steps;
  }
  const all = hvd.allgatherObject(found);
  if (hvd.rank() === 0) console.log(JSON.stringify(all));
  hvd.shutdown();
}

function job() {
  const settings = ['--np', np, '--tensors', tensors, '--steps', steps].map(String);
  const tsrun = path.join(root, 'dist/launcher/tsrun.js');
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsrun, '-np', String(np), '--no-prefix', file, '--worker', ...settings], {
    encoding: 'utf8',
    timeout: RUN_LIMIT_MS,
  });
  if (status !== 0) throw new Error(`a job ended with exit code ${status}\n${stderr}`);
  const [zero, ...others] = JSON.parse(stdout);
  const mean = (way) => others.reduce((sum, rank) => sum + rank[way], 0) / others.length;
  return Object.fromEntries(
    Object.keys(zero).flatMap((way) => [
      [`${way}, rank 0`, zero[way]],
      [`${way}, the others`, mean(way)],
    ]),
  );
}

async function measure() {
  const rows = new Map();
  const note = (what, found) => {
    for (const [who, ms] of Object.entries(found)) {
      const row = `${what}: ${who}`;
      rows.set(row, [...(rows.get(row) ?? []), ms]);
    }
  };
  for (let round = 0; round < rounds; round += 1) {
    note('negotiation', await negotiate());
    note('whole job', job());
  }
  console.log(
    `${np} ranks, ${tensors} tensors a step, ${steps} steps, ${rounds} rounds; milliseconds a step of one rank's communication thread`,
  );
  console.log(`${''.padEnd(38)}${'median'.padStart(8)}${'lowest'.padStart(9)}${'highest'.padStart(9)}`);
  for (const [row, list] of rows) {
    const figures = [median(list), Math.min(...list), Math.max(...list)].map((ms) => ms.toFixed(3).padStart(9));
    console.log(`${row.padEnd(37)}${figures.join('')}`);
  }
}

await (values.worker ? work() : measure());
