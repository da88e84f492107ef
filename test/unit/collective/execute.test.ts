import fc from 'fast-check';
import t from 'tap';
import { execute, type Operand, type Route } from '../../../src/collective/execute';
import type { Plan } from '../../../src/collective/plan';
import { BugError, HvdError, PeerError } from '../../../src/errors';
import { type InProcessTransport, inProcessTransports } from '../../../src/transport/in_process';
import type { Transport } from '../../../src/transport/transport';
import { allreduces } from './algorithms';
import { randomFrom } from './simulation';

/** A float32 sum in plain JavaScript stands for the kernels. */
function floatSum(values: Float32Array, scratch: Uint8Array): Operand {
  return {
    bytes: new Uint8Array(values.buffer),
    bytesPerElem: 4,
    reduce(elem, elems, scratchByte) {
      const received = new Float32Array(scratch.buffer, scratch.byteOffset + scratchByte, elems);
      for (let i = 0; i < elems; i += 1) values[elem + i]! += received[i]!;
    },
  };
}
const routeOver = (transport: Transport, size: number): Route => ({
  transport,
  members: Array.from({ length: size }, (_, i) => i),
  tag: 1,
});

/** All ranks' sums of random values of very different magnitudes, so that another order of additions gives other bits. */
async function sums(plans: readonly Plan[], elems: number, seed: number, transports: readonly Transport[]): Promise<Float32Array[]> {
  const random = randomFrom(seed);
  const operands = plans.map(() => Float32Array.from({ length: elems }, () => (random() - 0.5) * 2 ** Math.floor(random() * 40 - 20)));
  await Promise.all(
    plans.map((plan, rank) => {
      const scratch = new Uint8Array(1024);
      return execute(plan, routeOver(transports[rank]!, plans.length), floatSum(operands[rank]!, scratch), scratch);
    }),
  );
  return operands;
}
const bits = (values: Float32Array): Buffer => Buffer.from(values.buffer);
const shape = fc.record({
  size: fc.integer({ min: 1, max: 6 }),
  elems: fc.integer({ min: 0, max: 40 }),
  segmentElems: fc.integer({ min: 1, max: 7 }),
});
const seeds = fc.integer({ min: 1, max: 2 ** 31 });

for (const [name, plansOf] of Object.entries(allreduces)) {
  t.test(`${name}: all ranks get the same bits, whatever the order of events, and though sends read the operand late`, async (t) => {
    await fc.assert(
      fc.asyncProperty(shape, seeds, fc.scheduler(), async (input, seed, scheduler) => {
        const plans = plansOf(input);
        const eager = await sums(plans, input.elems, seed, inProcessTransports(input.size));
        const shuffled = inProcessTransports(input.size, { lazy: true }).map((transport): Transport => {
          const delayed = (done: Promise<void>): Promise<void> => done.then(() => scheduler.schedule(Promise.resolve()));
          return {
            rank: transport.rank,
            size: transport.size,
            send: (to, tag, bytes) => delayed(transport.send(to, tag, bytes)),
            recv: (from, tag, into) => delayed(transport.recv(from, tag, into)),
            abort: (cause) => transport.abort(cause),
          };
        });
        const late = await scheduler.waitFor(sums(plans, input.elems, seed, shuffled));
        for (const values of [...eager, ...late]) {
          if (!bits(values).equals(bits(eager[0]!))) throw new Error(`${values} is not ${eager[0]}`);
        }
      }),
      { numRuns: 60 },
    );
    t.pass();
  });
}

t.test('a ring sums chunk c in the order of ranks c, c + 1, …: the bits say so', async (t) => {
  const [size, elems] = [5, 40];
  const random = randomFrom(9);
  const operands = Array.from({ length: size }, () => Float32Array.from({ length: elems }, () => random() * 2 ** (random() * 60)));
  const expected = Float32Array.from({ length: elems }, (_, elem) => {
    const chunk = Math.floor((elem * size) / elems);
    let sum = operands[chunk]![elem]!;
    for (let step = 1; step < size; step += 1) sum = Math.fround(operands[(chunk + step) % size]![elem]! + sum);
    return sum;
  });
  const transports = inProcessTransports(size);
  const plans = allreduces.ring!({ size, elems, segmentElems: 3 });
  await Promise.all(
    plans.map((plan, rank) => {
      const scratch = new Uint8Array(256);
      return execute(plan, routeOver(transports[rank]!, size), floatSum(operands[rank]!, scratch), scratch);
    }),
  );
  for (const values of operands) t.ok(bits(values).equals(bits(expected)));
});

t.test('each rank hands exactly 2(N−1)/N of a ring allreduce to the transport', async (t) => {
  for (const size of [2, 3, 4, 5]) {
    const elems = size * 30;
    const transports = inProcessTransports(size);
    await sums(allreduces.ring!({ size, elems, segmentElems: 4 }), elems, 3, transports);
    t.same(
      transports.map(({ bytesSent }) => bytesSent),
      new Array(size).fill((2 * (size - 1) * elems * 4) / size),
    );
  }
});

t.test('two groups of positions that are other global ranks keep apart', async (t) => {
  const transports = inProcessTransports(4);
  const groups = [
    [3, 1],
    [0, 2],
  ];
  const operands = [1, 10, 100, 1000].map((value) => Float32Array.of(value, value));
  await Promise.all(
    groups.flatMap((members, tag) =>
      members.map((rank, position) => {
        const scratch = new Uint8Array(256);
        const plan = allreduces.ring!({ size: 2, elems: 2, segmentElems: 1 })[position]!;
        return execute(plan, { transport: transports[rank]!, members, tag }, floatSum(operands[rank]!, scratch), scratch);
      }),
    ),
  );
  t.same(
    operands.map((values) => values[0]),
    [101, 1010, 101, 1010],
  );
});

t.test('the next receive is posted before a segment is reduced, and no more than two are posted', async (t) => {
  const [left, right] = inProcessTransports(2) as [InProcessTransport, InProcessTransport];
  const postedWhenReducing: number[] = [];
  let posted = 0;
  const watched: Transport = {
    rank: 0,
    size: 2,
    send: (to, tag, bytes) => left.send(to, tag, bytes),
    recv: (from, tag, into) => {
      posted += 1;
      return left.recv(from, tag, into);
    },
    abort: (cause) => left.abort(cause),
  };
  const plans = allreduces.ring!({ size: 2, elems: 16, segmentElems: 1 });
  const scratches = [new Uint8Array(256), new Uint8Array(256)];
  const operand = floatSum(new Float32Array(16).fill(1), scratches[0]!);
  const reduce = operand.reduce!;
  operand.reduce = (...range) => {
    postedWhenReducing.push(posted);
    reduce(...range);
  };
  await Promise.all([
    execute(plans[0]!, routeOver(watched, 2), operand, scratches[0]!),
    execute(plans[1]!, routeOver(right, 2), floatSum(new Float32Array(16).fill(2), scratches[1]!), scratches[1]!),
  ]);
  t.same(postedWhenReducing, [2, 3, 4, 5, 6, 7, 8, 9]);
});

t.test('an abort in the middle rejects that rank with its cause, once, and the others with an error that names it', async (t) => {
  const size = 3;
  const cause = new HvdError('pulled the plug');
  const unhandled: unknown[] = [];
  const listen = (reason: unknown): void => void unhandled.push(reason);
  process.on('unhandledRejection', listen);
  const transports = inProcessTransports(size, { lazy: true });
  const plans = allreduces.ring!({ size, elems: 300, segmentElems: 2 });
  let reductions = 0;
  const outcomes = await Promise.allSettled(
    plans.map((plan, rank) => {
      const scratch = new Uint8Array(256);
      const operand = floatSum(new Float32Array(300), scratch);
      const reduce = operand.reduce!;
      operand.reduce = (...range) => {
        reduce(...range);
        if (rank === 1 && (reductions += 1) === 20) transports[1]!.abort(cause);
      };
      return execute(plan, routeOver(transports[rank]!, size), operand, scratch).catch((error: HvdError) => {
        transports[rank]!.abort(error);
        throw error;
      });
    }),
  );
  const errors = outcomes.map((outcome) => (outcome.status === 'rejected' ? (outcome.reason as HvdError) : undefined));
  t.equal(errors[1], cause);
  for (const rank of [0, 2]) t.ok(errors[rank] instanceof PeerError, `rank ${rank}: ${errors[rank]?.message}`);
  await new Promise((resolve) => setImmediate(resolve));
  process.off('unhandledRejection', listen);
  t.same(unhandled, []);
});

t.test('the first failure is kept: a kernel that throws wins over the abort that follows', async (t) => {
  const [left, right] = inProcessTransports(2) as [InProcessTransport, InProcessTransport];
  const plan: Plan = {
    sends: [],
    recvs: [0, 1].map((from) => ({ peer: 0, from, until: from + 1, action: 'reduce', finish: false, afterSends: 0 })),
  };
  const first = new BugError('kernel');
  const operand: Operand = {
    bytes: new Uint8Array(2),
    bytesPerElem: 1,
    reduce() {
      throw first;
    },
  };
  const pending = execute(plan, { transport: left, members: [1], tag: 0 }, operand, new Uint8Array(128));
  await right.send(0, 0, Uint8Array.of(1));
  await t.rejects(pending, first);
  left.abort(new HvdError('later'));
  await new Promise((resolve) => setImmediate(resolve));
});

t.test('a plan that does not fit its operand or scratch is a bug, and nothing is moved', async (t) => {
  const plans = allreduces.ring!({ size: 2, elems: 64, segmentElems: 32 });
  const transport = inProcessTransports(2)[0]!;
  const scratch = new Uint8Array(128);
  const whole = new Float32Array(64);
  await t.rejects(
    execute(plans[0]!, routeOver(transport, 2), floatSum(whole, scratch), scratch.subarray(0, 127)),
    BugError,
    'segment of 128 bytes',
  );
  await t.rejects(execute(plans[0]!, routeOver(transport, 2), floatSum(new Float32Array(20), scratch), new Uint8Array(512)), BugError);
  await t.rejects(
    execute(plans[0]!, routeOver(transport, 2), { bytes: new Uint8Array(256), bytesPerElem: 4 }, new Uint8Array(512)),
    BugError,
  );
});

t.test('an empty plan resolves, and post-scales what it is told to', async (t) => {
  const finished: number[][] = [];
  const operand: Operand = { bytes: new Uint8Array(5), bytesPerElem: 1, finish: (elem, elems) => void finished.push([elem, elems]) };
  const transport = inProcessTransports(1)[0]!;
  await execute({ sends: [], recvs: [] }, routeOver(transport, 1), operand, new Uint8Array(0));
  t.same(finished, []);
  await execute({ sends: [], recvs: [], finishAtEnd: { from: 0, until: 5 } }, routeOver(transport, 1), operand, new Uint8Array(0));
  t.same(finished, [[0, 5]]);
});

t.test('a copy does not land on what is still being sent, though it arrives early', async (t) => {
  const [left, right] = inProcessTransports(2, { lazy: true }) as [InProcessTransport, InProcessTransport];
  const bytes = Uint8Array.of(1);
  const swap: Plan = {
    sends: [{ to: 1, from: 0, until: 1, afterRecvs: 0 }],
    recvs: [{ peer: 1, from: 0, until: 1, action: 'copy', finish: false, afterSends: 1 }],
  };
  const running = execute(swap, routeOver(left, 2), { bytes, bytesPerElem: 1 }, new Uint8Array(0));
  const sending = right.send(0, 1, Uint8Array.of(2));
  await new Promise((resolve) => setImmediate(resolve));
  const taken = new Uint8Array(1);
  await right.recv(0, 1, taken);
  await Promise.all([running, sending]);
  t.same([taken[0], bytes[0]], [1, 2]);
});

t.test('with a source, what is sent lies there and stays; what is received lies in the operand', async (t) => {
  const [left, right] = inProcessTransports(2, { lazy: true }) as [InProcessTransport, InProcessTransport];
  const plan = (to: number, from: number): Plan => ({
    sends: [{ to, from, until: from + 2, afterRecvs: 0 }],
    recvs: [{ peer: to, from: 0, until: 2, action: 'copy', finish: false, afterSends: 0 }],
  });
  const [source, operand] = [Uint8Array.of(1, 2, 3, 4), new Uint8Array(2)];
  const [otherSource, otherOperand] = [Uint8Array.of(5, 6), new Uint8Array(2)];
  await Promise.all([
    execute(plan(1, 2), routeOver(left, 2), { bytes: operand, source, bytesPerElem: 1 }, new Uint8Array(0)),
    execute(plan(0, 0), routeOver(right, 2), { bytes: otherOperand, source: otherSource, bytesPerElem: 1 }, new Uint8Array(0)),
  ]);
  t.same(
    [[...operand], [...otherOperand], [...source]],
    [
      [5, 6],
      [3, 4],
      [1, 2, 3, 4],
    ],
  );
  await t.rejects(
    execute(plan(1, 3), routeOver(left, 2), { bytes: new Uint8Array(9), source, bytesPerElem: 1 }, new Uint8Array(0)),
    BugError,
    'its length counts',
  );
});

t.test('after a failure nothing more is handed to the transport', async (t) => {
  const transports = inProcessTransports(3);
  const plan: Plan = {
    sends: [{ to: 1, from: 0, until: 1, afterRecvs: 1 }],
    recvs: [1, 2].map((peer) => ({ peer, from: peer - 1, until: peer, action: 'copy', finish: false, afterSends: 0 })),
  };
  const running = execute(plan, routeOver(transports[0]!, 3), { bytes: new Uint8Array(2), bytesPerElem: 1 }, new Uint8Array(0));
  const cause = new HvdError('gone');
  transports[2]!.abort(cause);
  await t.rejects(running, { code: 'ERR_HVD_PEER', peer: 2 });
  await transports[1]!.send(0, 1, Uint8Array.of(1));
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(transports[0]!.bytesSent, 0);
});
