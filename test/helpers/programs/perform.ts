/**
 * One rank's part in random programs, on the real package: makes the calls and compares what comes out with the model. Throws at the first difference, with all that is needed to see it again.
 * At the end of a program all members of a set compare a checksum of the results that they share, to the bit.
 */
import assert from 'node:assert/strict';
import * as hvd from '../../../src/index';
import { type Call, callOf, describeCall } from './call';
import { objectOf, resultOf } from './model';
import { drawProgram, type Item, type Manner, type Program, type Step, setsOfJob } from './program';
import { assertUntouched, checksumOf, compareValue, dispose, makeValue } from './values';

/** Nothing in a program takes so long. */
const MOST_MS = 60_000;

interface Started {
  readonly call: Call;
  readonly manner: Manner;
  readonly values: readonly hvd.Value[];
  readonly handle: hvd.Handle<unknown>;
}
type Outcome = { readonly value: unknown } | { readonly error: Error & { code?: string } };

/** Registers what programs count on; once, after `init()`. */
export function registerSetsOfJob(): hvd.ProcessSet[] {
  return setsOfJob(hvd.size()).map((ranks) => hvd.addProcessSet(ranks));
}

/** @param say told before each step where this rank is */
export async function performProgram(
  seed: number,
  ofJob: readonly hvd.ProcessSet[],
  say: (where: string) => void = () => {},
): Promise<void> {
  const program = drawProgram(seed, hvd.size());
  const performance = new Performance(program, ofJob);
  let where = '';
  try {
    for (const [i, step] of program.steps.entries()) {
      where = `seed ${seed} on ${program.size} ranks, step ${i} (${step.do})`;
      say(where);
      await performance.perform(step);
    }
    await performance.end();
  } catch (error) {
    (error as Error).message = `rank ${hvd.rank()}, ${where}: ${(error as Error).message}`;
    throw error;
  }
}

class Performance {
  private readonly sets: hvd.ProcessSet[];
  private readonly rank = hvd.rank();
  private carried: Started[] = [];
  /** By set: of all results that are the same on all members. */
  private readonly checksums = new Map<number, number>();

  constructor(
    private readonly program: Program,
    ofJob: readonly hvd.ProcessSet[],
  ) {
    this.sets = program.sets.map((ranks, i) => (i === 0 ? hvd.globalProcessSet : (ofJob[i - 1] ?? new hvd.ProcessSet([...ranks]))));
  }

  async perform(step: Step): Promise<void> {
    switch (step.do) {
      case 'add-set':
        return this.addSet(this.sets[step.set]!);
      case 'remove-set':
        await this.end();
        return this.removeSet(this.sets[step.set]!);
      case 'together':
        return this.together(step);
      case 'join':
        return this.join(step);
    }
  }

  private addSet(set: hvd.ProcessSet): void {
    const ones = new Float32Array(1);
    assert.throws(() => hvd.allreduce(ones, { processSet: set }), { code: 'ERR_HVD_PROCESS_SET' });
    assert.equal(hvd.addProcessSet(set), set);
    assert.throws(() => hvd.addProcessSet([...set.ranks]), { code: 'ERR_HVD_USAGE' });
    if (!set.included()) assert.throws(() => hvd.allreduce(ones, { processSet: set }), { code: 'ERR_HVD_PROCESS_SET' });
  }

  private removeSet(set: hvd.ProcessSet): void {
    assert.equal(hvd.removeProcessSet(set), true);
    assert.equal(set.id, null);
    assert.equal(hvd.removeProcessSet(set), false);
  }

  private async together({ items, orders }: Step & { do: 'together' }): Promise<void> {
    const started: Started[] = [];
    for (const i of orders[this.rank]!) {
      const one = this.start(items[i]!);
      if (one?.manner === 'carry') this.carried.push(one);
      else if (one) started.push(one);
    }
    // Whoever waits first waits for what others submitted last.
    if (this.rank % 2 === 1) started.reverse();
    for (const one of started) await this.finish(one);
  }

  private async join({ set, stepsOf, rounds, meanwhile, last }: Step & { do: 'join' }): Promise<void> {
    const steps = stepsOf.get(this.rank);
    const processSet = this.sets[set]!;
    if (steps === undefined) return this.together(meanwhile);
    for (const round of rounds.slice(0, steps)) await this.together(round);
    const handle = (this.program.seed + this.rank) % 2 ? hvd.joinAsync({ processSet }) : undefined;
    const joined = handle ? undefined : hvd.join({ processSet });
    await this.together(meanwhile);
    const found = handle ? await handle : joined!;
    assert.ok(processSet.ranks.includes(found), `rank ${found} joined last, but is no member`);
    if (last !== undefined) assert.equal(found, last, 'who joined last');
    const others = hvd.allgather(Int32Array.of(found), { processSet, name: 'who joined last' });
    assert.ok(
      others.every((other) => other === found),
      `the members disagree who joined last: ${others.join()}`,
    );
  }

  /** What was carried is waited for, and the members compare what they have. */
  async end(): Promise<void> {
    const { carried } = this;
    this.carried = [];
    for (const one of carried) await this.finish(one);
    for (const [i, set] of this.sets.entries()) {
      if (set.id === null || !set.included()) continue;
      const own = this.checksums.get(i) ?? 0;
      const all = hvd.allgather(Int32Array.of(own), { processSet: set, name: 'checksum' });
      assert.ok(
        all.every((one) => one === own),
        `results on process set ${set.ranks.join()} that should be the same differ: ${all.join()}`,
      );
    }
  }

  // ───── one call ─────

  /** Undefined: it has been checked already. */
  private start({ call, manners }: Item): Started | undefined {
    const own = callOf(call, this.rank);
    const manner = manners[this.rank]!;
    const values = own.kind === 'object' || own.kind === 'barrier' ? [] : own.shapes.map((_, part) => makeValue(own, this.rank, part));
    const invoke = (): unknown => this.invoke(own, values, manner !== 'blocking');
    if (manner !== 'blocking') return { call, manner, values, handle: invoke() as hvd.Handle<unknown> };
    this.check(call, values, outcomeOf(invoke));
    return undefined;
  }

  private invoke(call: Call, values: readonly hvd.Value[], isAsync: boolean): unknown {
    const { kind, isGrouped, op, prescale, postscale, root, isInPlace } = call;
    const where = { name: call.name, processSet: this.sets[call.set] };
    const compression = hvd.Compression[call.compression];
    const reduction = { ...where, op, prescaleFactor: prescale, postscaleFactor: postscale, compression };
    const group = [...values];
    const [value] = group as [hvd.Value];
    switch (kind) {
      case 'barrier':
        return (isAsync ? hvd.barrierAsync : hvd.barrier)({ processSet: where.processSet });
      case 'object':
        return call.isEqual
          ? hvd.broadcastObject(this.rank === root ? objectOf(call, root) : undefined, root, where)
          : hvd.allgatherObject(objectOf(call, this.rank), where);
      case 'broadcast':
        return (isAsync ? hvd.broadcastAsync : hvd.broadcast)(value, root, where);
      case 'alltoall':
        return (isAsync ? hvd.alltoallAsync : hvd.alltoall)(value, call.isEqual ? null : [...call.splits[this.rank]!], where);
      case 'allgather':
        if (isGrouped) return (isAsync ? hvd.groupedAllgatherAsync : hvd.groupedAllgather)(group, where);
        return (isAsync ? hvd.allgatherAsync : hvd.allgather)(value, where);
      case 'reducescatter':
        if (isGrouped) return (isAsync ? hvd.groupedReducescatterAsync : hvd.groupedReducescatter)(group, reduction);
        return (isAsync ? hvd.reducescatterAsync : hvd.reducescatter)(value, reduction);
      case 'allreduce':
        if (isGrouped) return (isAsync ? hvd.groupedAllreduceAsync : hvd.groupedAllreduce)(group, { ...reduction, inPlace: isInPlace });
        return (isAsync ? hvd.allreduceAsync : hvd.allreduce)(value, { ...reduction, inPlace: isInPlace });
    }
  }

  private async finish({ call, manner, values, handle }: Started): Promise<void> {
    const untilMs = Date.now() + MOST_MS;
    while (manner === 'poll' && !hvd.poll(handle)) {
      if (Date.now() > untilMs) throw new Error(`not complete after ${MOST_MS / 1000} s: ${describeCall(call)}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const isAwaited = manner === 'await' || manner === 'carry';
    const outcome = isAwaited
      ? await handle.then(
          (value) => ({ value }),
          (error: Error) => ({ error }),
        )
      : outcomeOf(() => hvd.synchronize(handle));
    this.check(call, values, outcome);
  }

  private check(call: Call, values: readonly hvd.Value[], outcome: Outcome): void {
    try {
      this.compare(call, values, outcome);
    } catch (error) {
      (error as Error).message = `${(error as Error).message} in ${describeCall(call)}`;
      throw error;
    } finally {
      for (const value of values) dispose(value);
    }
  }

  private compare(call: Call, values: readonly hvd.Value[], outcome: Outcome): void {
    const expected = resultOf(call, this.rank);
    if (expected.is === 'mismatch') {
      assert.equal('error' in outcome ? outcome.error.code : 'a result', 'ERR_HVD_MISMATCH');
      return;
    }
    if ('error' in outcome) throw outcome.error;
    if (expected.is === 'object') {
      assert.deepEqual(outcome.value, expected.object);
      return;
    }
    if (call.kind === 'barrier') return;
    const { output, receivedSplits } = (call.kind === 'alltoall' ? outcome.value : { output: outcome.value }) as {
      output: unknown;
      receivedSplits?: Int32Array;
    };
    assert.deepEqual(receivedSplits && [...receivedSplits], expected.receivedSplits);
    const results = (call.isGrouped ? output : [output]) as hvd.Value[];
    assert.equal(results.length, expected.values.length, 'how many results');
    for (const [part, result] of results.entries()) {
      compareValue(call, result, expected.values[part]!);
      if (call.isInPlace) assert.equal(result, values[part], 'in place');
      else assertUntouched(call, this.rank, part, values[part]!);
      const isShared = call.absent.length === 0 && (call.kind === 'allreduce' || call.kind === 'allgather' || call.kind === 'broadcast');
      if (isShared) this.checksums.set(call.set, (this.checksums.get(call.set) ?? 0) ^ checksumOf(call.id, part, result));
      if (!call.isInPlace) dispose(result);
    }
  }
}

function outcomeOf(act: () => unknown): Outcome {
  try {
    return { value: act() };
  } catch (error) {
    return { error: error as Error };
  }
}
