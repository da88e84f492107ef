/**
 * Plans carried out on symbols instead of numbers, under the harshest transport the plan's terms allow: a send takes the operand's bytes only
 * at the moment the receiver takes the message, each rank has one send and one receipt under way, and who goes next is drawn by chance.
 */
import type { Plan, Range } from '../../../src/collective/plan';

/** One element on one rank: how often each rank's contribution is in it, and how often it was post-scaled. */
export interface Trace {
  readonly contributions: readonly number[];
  readonly finished: number;
}

/** A repeatable sequence of numbers in [0, 1). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/**
 * The operands of all ranks afterwards. @throws Error a deadlock, a message of another length, a range finished or summed wrongly
 * @param sources what is sent lies there, and not in the operands
 */
export function simulate(
  plans: readonly Plan[],
  operands: readonly (readonly Trace[])[],
  random: () => number,
  sources?: readonly (readonly Trace[])[],
): Trace[][] {
  const ranks = plans.map((plan, rank) => ({
    plan,
    values: [...operands[rank]!],
    sent: 0,
    completed: 0,
    taken: undefined as Trace[] | undefined,
  }));

  const transfer = (from: number): (() => void) | undefined => {
    const sender = ranks[from]!;
    const send = sender.plan.sends[sender.sent];
    if (!send || send.afterRecvs > sender.completed) return undefined;
    const receiver = ranks[send.to]!;
    const recv = receiver.plan.recvs[receiver.completed];
    if (!recv || recv.peer !== from || receiver.taken) return undefined;
    if (recv.action === 'copy' && recv.afterSends > receiver.sent) return undefined;
    return () => {
      const isSame = sources ? send.until - send.from === recv.until - recv.from : send.from === recv.from && send.until === recv.until;
      if (!isSame || send.from >= send.until) {
        throw new Error(`[${send.from}, ${send.until}) was sent for [${recv.from}, ${recv.until})`);
      }
      receiver.taken = (sources?.[from] ?? sender.values).slice(send.from, send.until);
      sender.sent += 1;
    };
  };
  const completion = (at: number): (() => void) | undefined => {
    const rank = ranks[at]!;
    const recv = rank.plan.recvs[rank.completed];
    if (!rank.taken || recv!.afterSends > rank.sent) return undefined;
    return () => {
      for (const [i, value] of rank.taken!.entries()) {
        const elem = recv!.from + i;
        rank.values[elem] = recv!.action === 'copy' ? value : sum(rank.values[elem]!, value);
      }
      if (recv!.finish) finish(rank.values, recv!);
      rank.taken = undefined;
      rank.completed += 1;
    };
  };

  for (;;) {
    const possible = ranks.flatMap((_, rank) => [transfer(rank), completion(rank)]).filter((act) => act !== undefined);
    if (possible.length === 0) break;
    possible[Math.floor(random() * possible.length)]!();
  }
  for (const [rank, { plan, sent, completed, values }] of ranks.entries()) {
    if (sent < plan.sends.length || completed < plan.recvs.length) {
      throw new Error(
        `deadlock: rank ${rank} stands at send ${sent} of ${plan.sends.length}, receipt ${completed} of ${plan.recvs.length}`,
      );
    }
    if (plan.finishAtEnd) finish(values, plan.finishAtEnd);
  }
  return ranks.map(({ values }) => values);
}

function sum(own: Trace, received: Trace): Trace {
  if (own.finished || received.finished) throw new Error('a finished element is summed');
  return { contributions: own.contributions.map((count, rank) => count + received.contributions[rank]!), finished: 0 };
}
function finish(values: Trace[], { from, until }: Range): void {
  for (let elem = from; elem < until; elem += 1) values[elem] = { ...values[elem]!, finished: values[elem]!.finished + 1 };
}

/** Pairs of a send and a receipt of one rank that touch a common range with nothing that says which comes first. */
export function racesIn({ sends, recvs }: Plan): string[] {
  const races: string[] = [];
  const meets = (one: Range, other: Range): boolean => one.from < other.until && other.from < one.until;
  for (const [r, recv] of recvs.entries()) {
    for (const [s, send] of sends.entries()) {
      if (meets(send, recv) && send.afterRecvs <= r && recv.afterSends <= s) races.push(`send ${s} and receipt ${r}`);
    }
    if (recv.action === 'reduce') continue;
    // A copy may land before earlier receipts are complete, unless a send it waits for has waited for them.
    for (const [earlier, other] of recvs.slice(0, r).entries()) {
      if (meets(other, recv) && !sends.slice(0, recv.afterSends).some((send) => send.afterRecvs > earlier)) {
        races.push(`receipts ${earlier} and ${r}`);
      }
    }
  }
  return races;
}
