/**
 * With --tls all sizes are measured by turns in the clear and encrypted; beside TLS's figures stand the time in the clear and the ratio of both. Each turn forms the job anew (its rendezvous stays
 * encrypted) and goes through the sizes as a run without --tls does: compiled code is as warm, and a change of the machine's pace meets both. Main thread, every rank.
 */
import * as hvd from '../index';
import { initInTheClear } from '../job';
import type { Row } from './measure';

/** Of each kind. */
const TURNS = 2;

/** Samples of all turns together. */
const joined = (turns: readonly Row[]): Row => ({
  ...turns[0]!,
  samplesUs: turns.flatMap(({ samplesUs }) => samplesUs),
  wrong: turns.reduce((sum, { wrong }) => sum + wrong, 0),
});

/** One size: what was measured encrypted, beside what was in the clear. */
function compared(encrypted: readonly Row[], plain: readonly Row[]): Row {
  const [own, other] = [joined(encrypted), joined(plain)];
  return { ...own, plainUs: other.samplesUs, wrong: own.wrong + other.wrong };
}

/** Sizes are shown in the last turn. */
export function measureByTurns(sizes: readonly number[], measured: (bytes: number) => Row[], show: (rows: readonly Row[]) => void): void {
  /** By size: a row of rows for each turn. */
  const plain: Row[][][] = sizes.map(() => []);
  const encrypted: Row[][][] = sizes.map(() => []);
  for (let turn = 1; turn <= TURNS; turn += 1) {
    hvd.shutdown();
    initInTheClear();
    for (const [i, bytes] of sizes.entries()) plain[i]!.push(measured(bytes));
    hvd.shutdown();
    hvd.init();
    for (const [i, bytes] of sizes.entries()) {
      encrypted[i]!.push(measured(bytes));
      const of = (turns: Row[][], form: number): Row[] => turns.map((rows) => rows[form]!);
      if (turn === TURNS) show(encrypted[i]![0]!.map((_, form) => compared(of(encrypted[i]!, form), of(plain[i]!, form))));
    }
  }
}
