/** Conductors of several ranks over links of bytes that arrive when chance wills; the operations only say that they were run. */
import fc from 'fast-check';
import t from 'tap';
import { readConfig } from '../../../src/config';
import { Boundary } from '../../../src/engine/boundary';
import type { Call } from '../../../src/engine/call';
import { Conductor } from '../../../src/engine/conductor';
import { ControlPlane } from '../../../src/engine/control_plane';
import type { FromThread } from '../../../src/engine/messages';
import type { Operations } from '../../../src/engine/operations';
import type { Session } from '../../../src/engine/session';
import { HvdError } from '../../../src/errors';
import { configureLog } from '../../../src/log';
import type { ControlLink } from '../../../src/transport/control';
import { khorovod } from '../../../src/wire/generated/messages';
import { randomFrom } from '../collective/simulation';
import { call, hostOf } from './calls';

// Failures and stalls are what is tested here; their log lines are not.
configureLog({ level: 'FATAL' });

class Link {
  onMessage: (message: khorovod.IControl) => void = () => {};
  onClose: (error: Error | undefined) => void = () => {};
  lastHeardMs = performance.now();
  readonly queue: Uint8Array[] = [];
  other!: Link;
  constructor(readonly peer: number) {}
  send(message: khorovod.IControl): void {
    this.other.queue.push(khorovod.Control.encode(message).finish());
  }
  deliver(): void {
    this.onMessage(khorovod.Control.decode(this.queue.shift()!));
  }
}

class Rank {
  readonly links: Link[] = [];
  readonly conductor: Conductor;
  readonly control: ControlPlane;
  readonly ran: string[] = [];
  /** Of those, how many this rank gave zeros to. */
  zeros = 0;
  /** By slot: the operand, then what came out. */
  readonly data = new Map<number, Uint8Array>();
  readonly told: FromThread[] = [];
  /** What the main thread knew when the transport was aborted. */
  knewAtAbort?: { isPoisoned: boolean; isTold: boolean };
  operations!: { isAwaited: boolean; onAllThrough?: () => void };
  /** By name: what this rank tells of where operands lie. */
  readonly places = new Map<string, number>();
  /** What came with decisions. */
  readonly toldPlaces: Array<readonly number[] | undefined> = [];
  /** Ends the operation under way. */
  finish?: () => void;
  sent = { full: 0, cached: 0 };
  private readonly boundary = new Boundary();
  private lastId = 0;

  constructor(
    rank: number,
    private readonly size: number,
    env: Record<string, string>,
  ) {
    const config = readConfig({ HOROVOD_RANK: `${rank}`, HOROVOD_SIZE: `${size}`, HOROVOD_CYCLE_TIME: '0', ...env });
    this.conductor = new Conductor(config, this.boundary, (message) => this.told.push(message));
    this.control = new ControlPlane(rank, hostOf, 1e9, {
      onMessage: (from, message) => this.conductor.hear(from, message),
      onFailure: (error) => this.conductor.fail(error),
      onDeparted: (from, reason) => this.conductor.hearDeparture(from, reason),
    });
  }

  link(link: Link): void {
    this.links.push(link);
    this.control.add(link as unknown as ControlLink);
  }

  begin(): void {
    const abort = (): void => {
      this.knewAtAbort = { isPoisoned: this.boundary.isPoisoned, isTold: this.told.length > 0 };
      this.finish?.();
    };
    const session = { control: this.control, transport: { abort }, hostOf, expectNews: () => {} };
    const operate = (keys: readonly string[]): Promise<void> => {
      this.ran.push(keys.map((key) => key.replace('0:', '')).join('+'));
      return new Promise((resolve) => {
        this.finish = () => {
          this.finish = undefined;
          resolve();
        };
      });
    };
    const run: Operations['run'] = async ({ keys, places }, submissions) => {
      this.toldPlaces.push(places);
      await operate(keys);
      return submissions.map(() => ({}));
    };
    const contributeZeros: Operations['contributeZeros'] = ({ keys }) => {
      this.zeros += 1;
      return operate(keys);
    };
    const star: Pick<Operations, 'operandOf' | 'combine' | 'place' | 'placeOf' | 'membersOf'> = {
      membersOf: () => Array.from({ length: this.size }, (_, rank) => rank),
      placeOf: ({ call: { name } }) => this.places.get(name),
      operandOf: ({ slot }) => this.data.get(slot)!,
      combine: (_, operands) => operands[0]!.map((_, i) => operands.reduce((sum, operand) => sum + operand[i]!, 0)),
      place: ({ slot }, result) => this.data.get(slot)!.set(result),
    };
    const operations = { run, contributeZeros, isAwaited: false, ...star };
    this.operations = operations;
    this.conductor.begin(session as unknown as Session, operations as unknown as Operations);
  }

  /** @returns whether it is complete yet */
  submit(one: Call, isAwaited: boolean, data = new Uint8Array(0)): () => boolean {
    this.lastId += 1;
    const slot = this.lastId;
    this.boundary.markPending(slot);
    this.data.set(slot, data);
    this.conductor.submit({ id: slot, slot, call: one, byteOffset: 0, bytes: data.length, isAwaited });
    return () => this.boundary.slotState(slot) !== 'pending';
  }

  /** As the main thread does when it has read the outcomes. */
  freeSlots(): void {
    for (let slot = 1; slot <= this.lastId; slot += 1) this.boundary.free(slot);
  }
  /** Who takes a slot that is not free meets an error. */
  takeSlots(): void {
    for (let slot = 1; slot <= this.lastId; slot += 1) this.boundary.markPending(slot);
  }

  get errors(): string[] {
    return this.told.flatMap((message) => (message.kind === 'record' && message.error ? [message.error.code] : []));
  }
}

function makeRanks(size: number, env: Record<string, string> = {}): Rank[] {
  const ranks = Array.from({ length: size }, (_, rank) => new Rank(rank, size, env));
  for (const [rank, one] of ranks.slice(1).entries()) {
    const [there, here] = [new Link(rank + 1), new Link(0)];
    [there.other, here.other] = [here, there];
    ranks[0]!.link(there);
    one.link(here);
  }
  for (const rank of ranks) rank.begin();
  return ranks;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Delivers and finishes what there is, in the order of chance, until nothing is left. */
async function settle(ranks: readonly Rank[], random: () => number = Math.random): Promise<void> {
  for (let idle = 0; idle < 4; ) {
    const possible = ranks.flatMap((rank) => [
      ...rank.links.filter(({ queue }) => queue.length > 0).map((link) => () => link.deliver()),
      ...(rank.finish ? [rank.finish] : []),
    ]);
    possible[Math.floor(random() * possible.length)]?.();
    idle = possible.length > 0 ? 0 : idle + 1;
    await turn();
  }
}

t.test('all ranks run the same operations in the same order, whatever order they submit in and however small the cache is', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 2 ** 31 }), async (seed) => {
      const random = randomFrom(seed);
      const upTo = (n: number): number => Math.floor(random() * n);
      const ranks = makeRanks(1 + upTo(4), {
        HOROVOD_CACHE_CAPACITY: `${[0, 1, 2, 100][upTo(4)]}`,
        HOROVOD_FUSION_THRESHOLD: `${[0, 60, 1e6][upTo(3)]}`,
      });
      const left = ranks.map(() => new Map('abcd'.split('').map((name) => [name, 6])));
      const isFree = ranks.map(() => new Map<string, () => boolean>());
      for (let idle = 0; idle < 1000; ) {
        const possible = ranks.flatMap((rank, r) => [
          ...[...left[r]!]
            .filter(([name, count]) => count > 0 && (isFree[r]!.get(name)?.() ?? true))
            .map(([name, count]) => () => {
              left[r]!.set(name, count - 1);
              const one = call(name, {
                parts: [[name === 'a' ? count >> 1 : 2]],
                dtype: name === 'b' && count === 3 && r === 1 ? 'int8' : 'float32',
              });
              isFree[r]!.set(name, rank.submit(one, upTo(2) === 0));
            }),
          ...rank.links.filter(({ queue }) => queue.length > 0).map((link) => () => link.deliver()),
          ...(rank.finish ? [rank.finish] : []),
        ]);
        if (possible.length > 0) possible[upTo(possible.length)]!();
        else if (left.every((counts) => [...counts.values()].every((count) => count === 0))) break;
        idle = possible.length > 0 ? 0 : idle + 1;
        if (idle > 0 || upTo(3) === 0) await turn();
      }
      await settle(ranks, random);
      const mismatches = ranks.length > 1 ? ['ERR_HVD_MISMATCH'] : [];
      for (const [r, rank] of ranks.entries()) {
        if (![...isFree[r]!.values()].every((isComplete) => isComplete())) throw new Error(`rank ${r} waits for ever`);
        if (rank.ran.join() !== ranks[0]!.ran.join()) throw new Error(`${rank.ran} on rank ${r}, ${ranks[0]!.ran} on rank 0`);
        if (rank.errors.join() !== mismatches.join()) throw new Error(`rank ${r}: ${rank.errors}`);
        if (rank.ran.flatMap((names) => names.split('+')).length !== 24 - mismatches.length) throw new Error(`${rank.ran}`);
      }
    }),
    { numRuns: 60 },
  );
  t.pass();
});

t.test('a call that comes again goes as an id; one that was forgotten on its way goes in full, once', async (t) => {
  const ranks = makeRanks(2, { HOROVOD_CACHE_CAPACITY: '1' });
  const requests: khorovod.IRequests[] = [];
  const coordinator = ranks[0]!.conductor;
  const hear = coordinator.hear.bind(coordinator);
  coordinator.hear = (from, message) => {
    if (message.requests) requests.push(message.requests);
    hear(from, message);
  };
  const submit = async (rank: number, name: string): Promise<void> => {
    ranks[rank]!.submit(call(name), true);
    await turn();
  };
  for (const rank of [0, 1]) await submit(rank, 'x');
  await settle(ranks);
  for (const rank of [0, 1]) await submit(rank, 'y');
  for (const link of ranks[0]!.links) link.deliver();
  // x's eviction is on its way to rank 1, which names it.
  await submit(1, 'x');
  await submit(0, 'x');
  await settle(ranks);
  t.same(
    requests.map(({ full, cached }) => [...full!.map(({ name }) => name), ...cached!]),
    [['x'], ['y'], [1], ['x']],
  );
  await submit(1, 'x');
  await submit(1, 'y');
  await settle(ranks);
  t.same(
    requests.slice(4).map(({ full, cached }) => [...full!.map(({ name }) => name), ...cached!]),
    [[3], ['y']],
    'what is known to be forgotten is not named',
  );
  t.same(
    ranks.map(({ ran }) => ran),
    [
      ['x', 'y', 'x'],
      ['x', 'y', 'x'],
    ],
  );
});

const joining = call('join', { kind: 'join', parts: [] });

for (const [how, areTogether] of [
  ['one message', true],
  ['two messages', false],
] as const)
  t.test(`a rank that joins behind a call whose id was forgotten takes part in that call: ${how}`, async (t) => {
    for (const kind of ['allreduce', 'allgather'] as const) {
      const ranks = makeRanks(2, { HOROVOD_CACHE_CAPACITY: '1' });
      const x = call('x', { kind });
      for (const name of ['x', 'y']) {
        for (const rank of ranks) rank.submit(name === 'x' ? x : call(name), true);
        if (name === 'x') await settle(ranks);
      }
      for (const link of ranks[0]!.links) link.deliver();
      // x's eviction is on its way to rank 1, which names it.
      ranks[0]!.submit(x, true);
      ranks[1]!.submit(x, false);
      if (!areTogether) ranks[1]!.conductor.flush();
      ranks[1]!.submit(joining, true);
      await settle(ranks);
      ranks[0]!.submit(joining, true);
      await settle(ranks);
      for (const rank of ranks) rank.submit(x, true);
      await settle(ranks);
      for (const { conductor, ran, zeros, errors } of ranks)
        t.same([conductor.failure, ran, zeros, errors], [undefined, ['x', 'y', 'x', 'join', 'x'], 0, []], kind);
    }
  });

t.test(
  'who has less to do joins, however small the cache: each takes part in all of its own calls, and gives zeros to the rest',
  async (t) => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 2 ** 31 }), async (seed) => {
        const random = randomFrom(seed);
        const upTo = (n: number): number => Math.floor(random() * n);
        const ranks = makeRanks(2 + upTo(3), { HOROVOD_CACHE_CAPACITY: `${1 + upTo(2)}` });
        let [own, all] = [ranks.map(() => 0), 0];
        for (let round = 0; round < 6; round += 1) {
          // Each does so many of the same calls; a name is used again when its call has ended.
          const program = Array.from({ length: 4 }, () => 'abc'[upTo(3)]!);
          const counts = ranks.map(() => upTo(5));
          own = own.map((sum, r) => sum + counts[r]! + 1);
          all += Math.max(...counts) + 1;
          const left = counts.map((count) => [...program.slice(0, count), 'join']);
          const isFree = ranks.map(() => new Map<string, () => boolean>());
          for (let idle = 0; idle < 8; ) {
            const possible = ranks.flatMap((rank, r) => {
              const [name] = left[r]!;
              const submit = (): void => {
                left[r]!.shift();
                isFree[r]!.set(name!, rank.submit(name === 'join' ? joining : call(name!), upTo(2) === 0));
              };
              return [
                ...(name && (isFree[r]!.get(name)?.() ?? true) ? [submit] : []),
                ...rank.links.filter(({ queue }) => queue.length > 0).map((link) => () => link.deliver()),
                ...(rank.finish ? [rank.finish] : []),
              ];
            });
            possible[upTo(possible.length)]?.();
            idle = possible.length > 0 ? 0 : idle + 1;
            if (idle > 0 || upTo(3) === 0) await turn();
          }
          for (const [r, ofRank] of isFree.entries())
            for (const [name, isComplete] of ofRank) if (!isComplete()) throw new Error(`rank ${r} waits for ever for ${name}`);
        }
        for (const [r, { conductor, ran, zeros, errors }] of ranks.entries()) {
          if (conductor.failure) throw conductor.failure;
          if (errors.length > 0) throw new Error(`rank ${r}: ${errors}`);
          if (ran.join() !== ranks[0]!.ran.join()) throw new Error(`${ran} on rank ${r}, ${ranks[0]!.ran} on rank 0`);
          const count = ran.flatMap((names) => names.split('+')).length;
          if (count - zeros !== own[r]) throw new Error(`rank ${r} took part in ${count - zeros}, not ${own[r]}`);
          if (count !== all) throw new Error(`${ran}: ${count}, not ${all}`);
        }
      }),
      { numRuns: 200 },
    );
    t.pass();
  },
);

t.test('small operands travel with the requests, however late and however small the cache; nothing is run', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 2 ** 31 }), async (seed) => {
      const random = randomFrom(seed);
      const upTo = (n: number): number => Math.floor(random() * n);
      const ranks = makeRanks(2 + upTo(3), { HOROVOD_CACHE_CAPACITY: `${[0, 1, 2, 100][upTo(4)]}` });
      // Each rank blocks on one call after the other.
      const left = ranks.map(() => 'ababcccab'.split(''));
      const rounds = ranks.map(() => new Map<string, number>());
      const blocked = ranks.map(() => ({ isComplete: (): boolean => true, data: new Uint8Array(0), expected: 0 }));
      const expected = (round: number): number => ranks.reduce((sum, _, r) => sum + 10 * round + r, 0);
      const begin = (r: number): void => {
        const name = left[r]!.shift()!;
        const round = rounds[r]!.get(name) ?? 0;
        rounds[r]!.set(name, round + 1);
        const data = new Uint8Array(4).fill(10 * round + r);
        blocked[r] = {
          isComplete: ranks[r]!.submit(call(name, { dtype: 'uint8', parts: [[4]] }), true, data),
          data,
          expected: expected(round),
        };
      };
      for (;;) {
        for (const { isComplete, data, expected } of blocked)
          if (isComplete() && data[3] !== (data.length ? expected : undefined)) throw new Error(`${data}, not ${expected}`);
        const possible = ranks.flatMap((rank, r) => [
          ...(left[r]!.length > 0 && blocked[r]!.isComplete() ? [() => begin(r)] : []),
          ...rank.links.filter(({ queue }) => queue.length > 0).map((link) => () => link.deliver()),
        ]);
        if (possible.length === 0) break;
        possible[upTo(possible.length)]!();
      }
      for (const [r, rank] of ranks.entries()) {
        if (left[r]!.length > 0 || !blocked[r]!.isComplete()) throw new Error(`rank ${r} waits for ever`);
        if (rank.ran.length > 0 || rank.errors.length > 0) throw new Error(`rank ${r}: ${rank.ran} ${rank.errors}`);
      }
    }),
    { numRuns: 60 },
  );
  t.pass();
});

t.test('a result that is there at once waits its turn behind what is being run', async (t) => {
  const ranks = makeRanks(2);
  for (const rank of ranks) rank.submit(call('large'), false);
  for (const rank of ranks) rank.conductor.flush();
  for (const link of ranks[0]!.links) link.deliver();
  for (const link of ranks[1]!.links) link.deliver();
  const data = ranks.map((_, r) => new Uint8Array(4).fill(r + 1));
  const isComplete = ranks.map((rank, r) => rank.submit(call('small', { dtype: 'uint8', parts: [[4]] }), true, data[r]));
  for (const link of ranks[0]!.links) link.deliver();
  for (const link of ranks[1]!.links) link.deliver();
  t.same(
    isComplete.map((is) => is()),
    [false, false],
  );
  t.same(
    data.map((bytes) => bytes[0]),
    [1, 2],
    'what will be overwritten still lies there',
  );
  await settle(ranks);
  t.same(
    isComplete.map((is) => is()),
    [true, true],
  );
  t.same(
    data.map((bytes) => [...bytes]),
    [
      [3, 3, 3, 3],
      [3, 3, 3, 3],
    ],
  );
  t.same(
    ranks.map(({ ran }) => ran),
    [['large'], ['large']],
  );
});

t.test('when a rank fails or leaves, small operands that wait are answered with that', async (t) => {
  const small = call('small', { dtype: 'uint8', parts: [[4]] });
  const leaving = makeRanks(3);
  for (const rank of leaving.slice(0, 2)) rank.submit(small, true, new Uint8Array(4));
  const parted = leaving[2]!.conductor.part('shutdown()', 5000);
  await settle(leaving);
  await parted;
  t.same(
    leaving.map(({ errors }) => errors),
    [['ERR_HVD_SHUTDOWN'], ['ERR_HVD_SHUTDOWN'], []],
  );
  const failing = makeRanks(2);
  failing[1]!.submit(small, true, new Uint8Array(4));
  await settle(failing);
  failing[0]!.conductor.fail(new Error('a bug'));
  await settle(failing);
  t.match(failing[1]!.conductor.failure, { message: /a bug/ });
  t.equal(failing[1]!.errors.length, 1);
});

t.test('the main thread learns of a failure when nobody else touches its memory any more', async (t) => {
  const ranks = makeRanks(2);
  for (const rank of ranks) rank.submit(call('x'), false);
  ranks[1]!.conductor.fail(new Error('a bug'));
  await settle(ranks);
  for (const { knewAtAbort, told, conductor } of ranks) {
    t.same(knewAtAbort, { isPoisoned: false, isTold: false });
    t.match(told, [{ kind: 'failed' }, { kind: 'record', error: { message: conductor.failure!.message } }]);
  }
});

t.test('a small call that only some ranks block on is run by all', async (t) => {
  const ranks = makeRanks(3);
  for (const [r, rank] of ranks.entries()) rank.submit(call('x', { dtype: 'uint8', parts: [[4]] }), r !== 1, new Uint8Array(4));
  await settle(ranks);
  t.same(
    ranks.map(({ ran }) => ran),
    [['x'], ['x'], ['x']],
  );
});

t.test('a small Adasum that all block on is run: its operand does not travel with the request', async (t) => {
  const ranks = makeRanks(2);
  for (const rank of ranks) rank.submit(call('x', { op: 'adasum', parts: [[1]] }), true, new Uint8Array(4));
  await settle(ranks);
  t.same(
    ranks.map(({ ran }) => ran),
    [['x'], ['x']],
  );
});

t.test('when a rank leaves, what was decided with it is still run, and the rest fails on the others', async (t) => {
  for (const leaver of [0, 1, 2]) {
    const ranks = makeRanks(3);
    for (const rank of ranks) rank.submit(call('done'), true);
    for (const link of ranks[0]!.links) link.deliver();
    for (const [r, rank] of ranks.entries()) if (r !== leaver) rank.submit(call('half'), true);
    const parted = ranks[leaver]!.conductor.part('shutdown()', 5000);
    await settle(ranks);
    await parted;
    for (const [r, rank] of ranks.entries()) {
      if (r !== leaver) rank.submit(call('late'), true);
    }
    await settle(ranks);
    t.same(
      ranks.map(({ ran }) => ran),
      [['done'], ['done'], ['done']],
      `rank ${leaver} leaves`,
    );
    for (const [r, { errors }] of ranks.entries())
      t.same(errors, r === leaver ? [] : ['ERR_HVD_SHUTDOWN', 'ERR_HVD_SHUTDOWN'], `rank ${r}`);
  }
});

t.test('where operands lie comes with the decision on a call that is decided alone, if every rank has said so', async (t) => {
  const ranks = makeRanks(3);
  for (const [r, rank] of ranks.entries())
    for (const name of ['x', 'y', 'z']) if (name !== 'y' || r > 0) rank.places.set(name, 100 * r + 1);
  for (let step = 0; step < 2; step += 1) {
    for (const name of ['x', 'y']) {
      for (const rank of ranks) rank.submit(call(name), true);
      await settle(ranks);
    }
    // Two in a message.
    for (const rank of ranks) for (const name of ['x', 'z']) rank.submit(call(name), false);
    await settle(ranks);
  }
  for (const { toldPlaces } of ranks)
    t.same(toldPlaces, [[1, 101, 201], undefined, undefined, [1, 101, 201], undefined, undefined], 'named in full, then by its id');
});

t.test('neighbours do not reduce what another call under way works on', async (t) => {
  const ranks = makeRanks(2);
  for (const rank of ranks) {
    rank.places.set('x', 7);
    rank.submit(call('earlier', { parts: [[1 << 16]] }), true, new Uint8Array(4 << 16));
  }
  for (const rank of ranks) rank.submit(call('x', { parts: [[1 << 16]] }), true, new Uint8Array(4 << 16));
  await settle(ranks);
  for (const { toldPlaces } of ranks) t.same(toldPlaces, [undefined, undefined]);
});

t.test('a place that was told is withdrawn when a later call works on the same memory', async (t) => {
  const ranks = makeRanks(2);
  const parts = [[1 << 16]];
  const data = () => new Uint8Array(4 << 16);
  for (const rank of ranks) rank.places.set('x', 7);
  const [first, second] = ranks as [Rank, Rank];
  first.submit(call('x', { parts }), true, data());
  await settle(ranks);
  first.submit(call('later', { parts }), false, data());
  await settle(ranks);
  second.submit(call('x', { parts }), true, data());
  await settle(ranks);
  for (const { toldPlaces } of ranks) t.same(toldPlaces, [undefined]);
});

t.test('a rank is needed while others are at what is over for it, until something fails', async (t) => {
  for (const fails of [false, true]) {
    const [rank] = makeRanks(1) as [Rank];
    t.equal(rank.conductor.isNeeded, false);
    rank.operations.isAwaited = true;
    t.equal(rank.conductor.isNeeded, true);
    let isReleased = false;
    const released = rank.conductor.release(60_000).then(() => {
      isReleased = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    t.equal(isReleased, false);
    if (fails) rank.conductor.fail(new HvdError('another is gone'));
    else {
      rank.operations.isAwaited = false;
      rank.operations.onAllThrough!();
    }
    await released;
    t.equal(rank.conductor.isNeeded, false);
  }
});

t.test('rank 0 decides nothing any more when it has said that it leaves, though it still carries out what was decided', async (t) => {
  const ranks = makeRanks(3);
  for (const rank of ranks) rank.submit(call('add', { kind: 'add-set', parts: [[1, 2]] }), true);
  await settle(ranks);
  for (const rank of ranks) rank.submit(call('long'), true);
  for (const link of ranks[0]!.links) link.deliver();
  const parted = ranks[0]!.conductor.part('shutdown()', 5000);
  // On their way when the others hear of it, on a set of which rank 0 is no member.
  for (const rank of ranks.slice(1)) rank.submit(call('own', { processSet: 1 }), true);
  for (const link of ranks[0]!.links) link.deliver();
  await settle(ranks);
  await parted;
  for (const { conductor, ran, errors } of ranks.slice(1)) {
    t.equal(conductor.failure, undefined);
    t.same(ran, ['add', 'long']);
    t.same(errors, ['ERR_HVD_SHUTDOWN']);
  }
});

t.test('an operation that comes to its end as the job fails ends no call a second time', async (t) => {
  const [rank] = makeRanks(1) as [Rank];
  rank.submit(call('x'), true);
  t.same(rank.ran, ['x']);
  // The operation under way ends with the transport.
  rank.conductor.fail(new Error('a bug'));
  rank.freeSlots();
  await turn();
  rank.takeSlots();
  t.equal(rank.told.filter(({ kind }) => kind === 'record').length, 1);
});

t.test('a stall that lasts too long ends the job on every rank', async (t) => {
  const ranks = makeRanks(3, { HOROVOD_STALL_SHUTDOWN_TIME_SECONDS: '10' });
  ranks[1]!.submit(call('x'), true);
  await settle(ranks);
  ranks[0]!.conductor.inspectStalls(performance.now() + 9000);
  t.equal(ranks[0]!.conductor.failure, undefined);
  ranks[0]!.conductor.inspectStalls(performance.now() + 10_000);
  await settle(ranks);
  for (const { conductor } of ranks)
    t.match(conductor.failure, { code: 'ERR_HVD_STALL', tensor: 'x', message: /rank 0 and 2 \(host a and b\)/ });
  t.same(ranks[1]!.errors, ['ERR_HVD_STALL']);
  const quiet = makeRanks(2, { HOROVOD_STALL_SHUTDOWN_TIME_SECONDS: '10', HOROVOD_STALL_CHECK_DISABLE: '1' });
  quiet[0]!.submit(call('x'), true);
  quiet[0]!.conductor.inspectStalls(performance.now() + 1e9);
  t.equal(quiet[0]!.conductor.failure, undefined, 'unless looking is switched off');
});
