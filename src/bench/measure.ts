/**
 * Measures one form of a collective at one size, and verifies it while it does: every element, before, between and after the timed calls. Main thread, every rank.
 *
 * Checks are calls of their own (results in place would otherwise be reduced again and again); calls out of place keep their contribution, and the results of the timed ones are of the same elements.
 */
import { arrayTypeOf, isFloat } from '../dtype';
import * as hvd from '../index';
import { currentEngine } from '../job';
import { bytesHandedOver } from '../values';
import type { CollectiveArgs } from './collective_args';
import { type Schedule, samplesOfCalls, scheduleOf, WARM_UP_MS, warmUpBytes, warmUpCalls } from './collective_figures';
import { type Form, type FormName, type Measured, makeForm, type Tensors } from './forms';
import { layoutOf, type Segment } from './layout';
import { reducedTile, type Tile, tileOfRank, wrongElems } from './pattern';

/** One form at one size, of all ranks. */
export interface Row {
  readonly form: FormName;
  readonly bytes: number;
  readonly count: number;
  /** Of a call (where several are under way together: of their time a call). */
  readonly samplesUs: readonly number[];
  /** With --tls: of the turns in the clear. */
  readonly plainUs?: readonly number[];
  /** Elements that were not what the definition says (with compression, or where quotients are rounded: not within its bound), on all ranks. */
  readonly wrong: number;
  /** Bytes that rank 0 copied on its host for each byte of `bytes`, beside what the transport moves. */
  readonly copied: number;
}

/** The unit roundoff of what travels; of other compressors no call by itself has a bound that could be verified. */
export const roundoffs: Readonly<Record<string, number>> = { none: 0, fp16: 2 ** -11, bf16: 2 ** -8 };

/** Of the warm-up, before it is looked how long it has taken. */
const CALLS_A_LOOK = 10;

export class Measurement {
  private readonly tiles = new Map<number | 'reduced', Tile>();

  constructor(
    private readonly args: CollectiveArgs & { collective: Measured },
    private readonly compression: hvd.Compressor,
    private readonly tensors: Tensors | undefined,
  ) {}

  layout(bytes: number) {
    const { collective, dtype, parts } = this.args;
    return layoutOf(collective, bytes, arrayTypeOf(dtype).BYTES_PER_ELEMENT, parts, { rank: hvd.rank(), ranks: hvd.size() });
  }

  /** @param largest of the sizes that are measured then, in bytes */
  warmUp(names: readonly FormName[], largest: number): void {
    for (const name of names) {
      const form = makeForm(name, this.args, this.layout(warmUpBytes(largest)), this.compression, this.tensors);
      try {
        form.fill('zeros');
        let ms = 0;
        for (let calls = 0; calls < warmUpCalls(this.args.iterations) && ms < WARM_UP_MS; calls += CALLS_A_LOOK) {
          const startedMs = performance.now();
          for (let call = 0; call < CALLS_A_LOOK; call += 1) {
            hvd.barrier();
            form.drop(form.step());
          }
          // The same on all ranks.
          ms += hvd.allreduce(Float64Array.of(performance.now() - startedMs), { op: 'max', name: 'bench.warm-up' })[0]!;
        }
      } finally {
        form.dispose();
      }
    }
  }

  row(name: FormName, size: number): Row {
    const layout = this.layout(size);
    const form = makeForm(name, this.args, layout, this.compression, this.tensors);
    try {
      const { samplesUs, wrong, copiedBytes, calls } = this.timed(form, scheduleOf(layout.bytes, this.args.iterations), layout.outputs);
      return { form: name, bytes: layout.bytes, count: layout.count, samplesUs, wrong, copied: copiedBytes / (calls * layout.bytes) };
    } finally {
      form.dispose();
    }
  }

  private timed(form: Form, schedule: Schedule, outputs: ReadonlyArray<readonly Segment[]>) {
    const { iterations, warmUps } = schedule;
    const own = new Float64Array(iterations);
    const calls = form.phases.length;
    let copiedBytes = 0;
    const run = (from: number, until: number): void => {
      if (form.name === 'in-place' && this.args.op !== 'adasum') form.fill('zeros');
      for (let i = from; i < until; i += 1) {
        if (schedule.isAligned) hvd.barrier();
        const copiedBefore = copiedSoFar();
        const startedMs = performance.now();
        const results = form.step();
        const ms = performance.now() - startedMs;
        if (i >= 0) {
          own[i] = (ms * 1000) / calls;
          copiedBytes += copiedSoFar() - copiedBefore;
        }
        form.drop(results);
      }
    };
    const middle = Math.ceil(iterations / 2);
    let wrong = this.check(form, outputs);
    run(-warmUps, middle);
    wrong += this.check(form, outputs);
    run(middle, iterations);
    wrong += this.check(form, outputs);
    const ofRanks = hvd.allgather(own, { name: 'bench.samples' });
    return {
      samplesUs: samplesOfCalls(ofRanks, hvd.size(), schedule).map(toNanoseconds),
      wrong: hvd.allreduce(Float64Array.of(wrong), { op: 'sum', name: 'bench.wrong' })[0]!,
      copiedBytes,
      calls: iterations * calls,
    };
  }

  private check(form: Form, outputs: ReadonlyArray<readonly Segment[]>): number {
    form.fill('pattern');
    const results = form.step();
    let wrong = 0;
    for (const [call, parts] of results.entries()) {
      for (const [part, result] of parts.entries()) {
        const elems = form.elemsOf(result);
        const segments = outputs[part]!;
        let at = 0;
        for (const segment of segments) {
          wrong += wrongElems(elems, at, segment.elems, this.tile(segment.source), form.phases[call]! + segment.from);
          at += segment.elems;
        }
        wrong += Math.abs(elems.length - at);
      }
    }
    form.drop(results);
    return wrong;
  }

  private tile(source: number | 'reduced'): Tile {
    const { dtype, op } = this.args;
    let tile = this.tiles.get(source);
    if (!tile) {
      const roundoff = isFloat(dtype) ? roundoffs[this.compression.name]! : 0;
      tile = source === 'reduced' ? reducedTile(hvd.size(), dtype, op!, roundoff) : tileOfRank(source, dtype, op);
      this.tiles.set(source, tile);
    }
    return tile;
  }
}

/** A clock shows no more, and records are shorter. */
const toNanoseconds = (us: number): number => Math.round(us * 1000) / 1000;
const copiedSoFar = (): number => bytesHandedOver() + currentEngine('bench').copiedBytes;
