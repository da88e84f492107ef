/**
 * Random programs: what each rank of a job calls, in which order, drawn from a seed. Pure; every rank draws the whole program and knows what the others do.
 *
 * None can block itself: what any rank blocks on, and what has no name, has one order on all ranks; all else is submitted anywhere between, in another order on each rank, and waited for when
 * everything of its step has been submitted. Names come from a small store, so that the same call comes again (and is named by its cached id), and so do calls that differ from what was remembered.
 */
import { type Random, randomOf } from '../random';
import { type Call, drawCall, everyRank, varied, withAbsent } from './call';

/** How a rank calls, and waits. */
export type Manner = 'blocking' | 'synchronize' | 'await' | 'poll' | 'carry';

export interface Item {
  readonly call: Call;
  /** By rank. */
  readonly manners: readonly Manner[];
  /** One order on all ranks. */
  readonly isOrdered: boolean;
}

export type Step =
  | { readonly do: 'add-set' | 'remove-set'; readonly set: number }
  /** `orders`: for each rank, in which order it submits which of the items. */
  | { readonly do: 'together'; readonly items: readonly Item[]; readonly orders: readonly (readonly number[])[] }
  /** Each member takes part in the first `steps[rank]` of the rounds, then joins; meanwhile something happens on other sets. */
  | {
      readonly do: 'join';
      readonly set: number;
      readonly stepsOf: ReadonlyMap<number, number>;
      readonly rounds: readonly (Step & { do: 'together' })[];
      readonly meanwhile: Step & { do: 'together' };
      /** Who comes last; undefined: it is left to chance. */
      readonly last?: number;
    };

export interface Program {
  readonly seed: number;
  readonly size: number;
  /** Global ranks of each set, ascending; 0 is all, then those that the job has, then those that the program adds. */
  readonly sets: readonly (readonly number[])[];
  readonly steps: readonly Step[];
}

/** Registered when the job begins; they overlap. */
export const setsOfJob = (size: number): number[][] => (size < 3 ? [] : [[0, size - 1], everyRank(size).slice(1)]);

interface Making {
  readonly random: Random;
  readonly size: number;
  readonly sets: readonly (readonly number[])[];
  /** Indices of the sets that are registered. */
  open: number[];
  nextId: number;
}

export function drawProgram(seed: number, size: number): Program {
  const random = randomOf(seed * 31 + size);
  const own = ownSets(random, size);
  const sets = [everyRank(size), ...setsOfJob(size), ...own];
  const ownIndices = own.map((_, i) => sets.length - own.length + i);
  const making: Making = { random, size, sets, open: everyRank(sets.length - own.length), nextId: 0 };
  const steps: Step[] = [];
  const waiting = [...ownIndices];
  const count = 3 + random.below(4);
  for (let i = 0; i < count; i += 1) {
    if (waiting.length > 0 && random.chance(0.6)) {
      const set = waiting.shift()!;
      steps.push({ do: 'add-set', set });
      making.open.push(set);
    }
    if (random.chance(0.25)) steps.push(drawJoin(making));
    else steps.push(...drawTogether(making));
  }
  const added = making.open.filter((set) => ownIndices.includes(set));
  steps.push(...random.shuffled(added).map((set) => ({ do: 'remove-set', set }) as const));
  return { seed, size, sets, steps };
}

/** Sets that the job has not. */
function ownSets(random: Random, size: number): number[][] {
  const taken = new Set([everyRank(size), ...setsOfJob(size)].map(String));
  const found: number[][] = [];
  for (let tries = random.below(4); tries > 0; tries -= 1) {
    const ranks = random
      .shuffled(everyRank(size))
      .slice(0, 1 + random.below(size))
      .sort((a, b) => a - b);
    if (taken.has(String(ranks))) continue;
    taken.add(String(ranks));
    found.push(ranks);
  }
  return found;
}

/** The same calls one to three times, changed a little in between. */
function drawTogether(making: Making): Step[] {
  const { random } = making;
  let calls = drawCalls(making, 1 + random.below(random.chance(0.2) ? 20 : 6), making.open);
  const steps: Step[] = [arranged(making, calls, true)];
  for (let again = random.below(3); again > 0; again -= 1) {
    calls = calls.map((call) => varied({ ...call, id: making.nextId++ }, random));
    steps.push(arranged(making, calls, true));
  }
  return steps;
}

function drawCalls(making: Making, count: number, sets: readonly number[]): Call[] {
  const { random } = making;
  const calls: Call[] = [];
  for (let i = 0; i < count; i += 1) {
    const set = random.oneOf(sets);
    const name = random.chance(0.25) ? undefined : `name.${random.below(12)}`;
    if (name !== undefined && calls.some((call) => call.set === set && call.name === name)) continue;
    calls.push(drawCall({ id: making.nextId++, set, members: making.sets[set]!, name }, random));
  }
  return calls;
}

/** Who calls how, and in which order. `mayCarry`: some are waited for at the end of the program only. */
function arranged({ random, size }: Making, calls: readonly Call[], mayCarry: boolean): Step & { do: 'together' } {
  const items = calls.map((call): Item => {
    if (call.kind === 'object') return { call, manners: new Array<Manner>(size).fill('blocking'), isOrdered: true };
    const drawn = everyRank(size).map((): Manner => random.oneOf(['blocking', 'synchronize', 'await', 'poll']));
    const manners = random.chance(0.5) ? drawn.map((manner) => (manner === 'blocking' ? 'await' : manner)) : drawn;
    if (mayCarry && random.chance(0.04)) {
      const once = { ...call, name: `carried.${call.id}` };
      return { call: once, manners: new Array<Manner>(size).fill('carry'), isOrdered: false };
    }
    return { call, manners, isOrdered: call.name === undefined || call.kind === 'barrier' || manners.includes('blocking') };
  });
  const order = random.chance(0.5) ? everyRank(items.length) : random.shuffled(everyRank(items.length));
  const ordered = order.filter((i) => items[i]!.isOrdered);
  const free = order.filter((i) => !items[i]!.isOrdered);
  const orders = everyRank(size).map((rank) => {
    const sequence = [...ordered];
    for (const i of free) sequence.splice(random.below(sequence.length + 1), 0, i);
    return sequence.filter((i) => items[i]!.call.members.includes(rank) && !items[i]!.call.absent.includes(rank));
  });
  return { do: 'together', items, orders };
}

function drawJoin(making: Making): Step {
  const { random, sets } = making;
  const set = random.oneOf(making.open);
  const members = sets[set]!;
  const stepsOf = new Map(members.map((rank) => [rank, random.below(4)]));
  const most = Math.max(...stepsOf.values());
  const rounds = everyRank(most).map((round) => {
    const absent = members.filter((rank) => stepsOf.get(rank)! <= round);
    const calls = drawCalls(making, 1 + random.below(3), [set]).map((call) => withAbsent(call, absent));
    return arranged(making, calls, false);
  });
  const others = making.open.filter((other) => other !== set);
  const meanwhile = arranged(making, others.length > 0 && random.chance(0.5) ? drawCalls(making, 2, others) : [], false);
  // Whoever has waited for something after the others joined is last.
  const longest = members.filter((rank) => stepsOf.get(rank) === most);
  const last = longest.length === 1 && (rounds.at(-1)?.items.length ?? 0) > 0 ? longest[0] : undefined;
  return { do: 'join', set, stepsOf, rounds, meanwhile, last };
}
