/**
 * Performs random collectives one after the other, all ranks the same, and checks every element of every result. Arguments: seed, how many, most bytes of one (default 64 MiB), a folder in which `begun-RANK` says
 * that the first is done. Prints how many were right; a wrong element ends the rank with its place.
 */
import { performance } from 'node:perf_hooks';
import * as hvd from '../../src/index';
import { put } from '../helpers/put';
import { type Random, randomOf } from '../helpers/random';

const [seed = '1', count = '100', mostBytes = String(64 << 20), folder] = process.argv.slice(2);
const types = { float32: Float32Array, float64: Float64Array, int32: Int32Array, uint8: Uint8Array } as const;
type Dtype = keyof typeof types;
type Values = InstanceType<(typeof types)[Dtype]>;

/** Small whole numbers: sums of a few ranks are exact in each dtype. They repeat after PERIOD elements only, so that a part which lands elsewhere is seen. */
const elementOf = (rank: number, i: number, salt: number): number => ((i * 7 + (i >> 10) + rank * 3 + salt) % 13) + 1;
const PERIOD = 13 << 10;

/** One period of what is due: copied and compared as whole blocks, an element at a time would take longer than the collectives. */
function periodOf(values: Values, due: (i: number) => number): Values {
  const period = new (values.constructor as typeof Float32Array)(PERIOD);
  for (let i = 0; i < PERIOD; i += 1) period[i] = due(i);
  return period;
}
const bytesOf = ({ buffer, byteOffset, byteLength }: Values): Uint8Array => new Uint8Array(buffer, byteOffset, byteLength);

/** Every element of `result` is compared; element 0 is due as element `from` of the whole. */
function check(result: Values, due: (i: number) => number, what: string, from = 0): void {
  const period = periodOf(result, due);
  for (let at = 0, phase = from % PERIOD; at < result.length; phase = 0) {
    const elems = Math.min(PERIOD - phase, result.length - at);
    if (Buffer.compare(bytesOf(result.subarray(at, at + elems)), bytesOf(period.subarray(phase, phase + elems))) !== 0) {
      const wrong = at + result.subarray(at, at + elems).findIndex((value, i) => value !== period[phase + i]);
      throw new Error(`${what}: element ${wrong} of ${result.length} is ${result[wrong]} instead of ${due(from + wrong)}`);
    }
    at += elems;
  }
}
function fill(values: Values, rank: number, salt: number): Values {
  const period = periodOf(values, (i) => elementOf(rank, i, salt));
  for (let at = 0; at < values.length; at += PERIOD) values.set(period.subarray(0, Math.min(PERIOD, values.length - at)), at);
  return values;
}
/** From nothing to the most, small ones as often as large ones. */
function bytesIn(random: Random): number {
  if (random.chance(0.02)) return 0;
  return Math.min(Number(mostBytes), Math.floor(2 ** (random.below(1000) * (Math.log2(Number(mostBytes)) / 1000))) + random.below(64));
}

const combine: Record<'sum' | 'min' | 'max', (values: readonly number[]) => number> = {
  sum: (values) => values.reduce((total, value) => total + value, 0),
  min: (values) => Math.min(...values),
  max: (values) => Math.max(...values),
};

function perform(random: Random, salt: number, sets: readonly hvd.ProcessSet[]): void {
  const set = random.oneOf(sets);
  const kind = random.oneOf(['allreduce', 'allreduce', 'allreduce', 'allgather', 'broadcast', 'reducescatter', 'alltoall'] as const);
  const dtype = random.oneOf(Object.keys(types) as Dtype[]);
  const op = random.oneOf(['sum', 'min', 'max'] as const);
  const inPlace = random.chance(0.5);
  const type = types[dtype];
  const elems = Math.floor(bytesIn(random) / type.BYTES_PER_ELEMENT);
  const root = random.below(set.size());
  if (!set.included()) return;
  const ranks = set.ranks!;
  const own = hvd.rank();
  const options = { processSet: set, name: `stress.${salt}` };
  const what = `seed ${seed}, collective ${salt}: ${kind} of ${elems} ${dtype}, ${op}, ranks ${ranks.join()}`;
  const dueOf = (i: number): number => combine[op](ranks.map((rank) => elementOf(rank, i, salt)));
  if (kind === 'allreduce') {
    const values = fill(inPlace ? hvd.allocate(type as typeof Float32Array, elems) : new type(elems), own, salt);
    check(hvd.allreduce(values, { ...options, op, inPlace }), dueOf, what);
    if (inPlace) hvd.release(values);
  } else if (kind === 'allgather') {
    const part = Math.floor(elems / ranks.length);
    const rowsOf = (rank: number): number => part + (rank % 3);
    const result = hvd.allgather(fill(new type(rowsOf(own)), own, salt), options);
    let from = 0;
    for (const rank of ranks) {
      check(result.subarray(from, from + rowsOf(rank)), (i) => elementOf(rank, i, salt), `${what}, part of rank ${rank}`);
      from += rowsOf(rank);
    }
  } else if (kind === 'broadcast') {
    const result = hvd.broadcast(fill(new type(elems), own, salt), ranks[root]!, options);
    check(result, (i) => elementOf(ranks[root]!, i, salt), what);
  } else if (kind === 'reducescatter') {
    const rows = Math.max(elems, ranks.length);
    const result = hvd.reducescatter(fill(new type(rows), own, salt), { ...options, op: 'sum' });
    const place = ranks.indexOf(own);
    const from = place * Math.floor(rows / ranks.length) + Math.min(place, rows % ranks.length);
    check(result, (i) => combine.sum(ranks.map((rank) => elementOf(rank, i, salt))), what, from);
  } else {
    const rowsTo = (from: number, to: number): number => Math.floor(elems / ranks.length) + ((from + 2 * to) % 4);
    const splits = ranks.map((rank) => rowsTo(own, rank));
    const values = fill(new type(splits.reduce((sum, rows) => sum + rows, 0)), own, salt);
    const { output } = hvd.alltoall(values, splits, options);
    let at = 0;
    for (const rank of ranks) {
      const before = ranks.slice(0, ranks.indexOf(own)).reduce((sum, to) => sum + rowsTo(rank, to), 0);
      check(output.subarray(at, at + rowsTo(rank, own)), (i) => elementOf(rank, i, salt), `${what}, from rank ${rank}`, before);
      at += rowsTo(rank, own);
    }
  }
}

hvd.init();
const random = randomOf(Number(seed));
const sets = [hvd.globalProcessSet];
if (hvd.size() > 2)
  for (const ranks of [[0, 1], Array.from({ length: hvd.size() - 1 }, (_, i) => i + 1)]) sets.push(hvd.addProcessSet(ranks));
const beganMs = performance.now();
for (let salt = 0; salt < Number(count); salt += 1) {
  perform(random, salt, sets);
  if (salt === 0 && folder) put(folder, `begun-${hvd.rank()}`, '');
}
hvd.barrier();
console.log(`${count} collectives right in ${((performance.now() - beganMs) / 1000).toFixed(1)} s`);
hvd.shutdown();
