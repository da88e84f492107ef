/** The timeline as records: what each course of events looks like to a viewer. */
import fc from 'fast-check';
import t from 'tap';
import type { Call } from '../../../src/engine/call';
import { callKey } from '../../../src/engine/call';
import { activityOf, mainEvents, Timeline } from '../../../src/engine/timeline';
import { readTrace, type Slice } from '../../helpers/trace';
import { call } from './calls';

const START_US = 1_000_000;

/** A timeline with a clock that is turned by hand. */
class Course {
  us = 0;
  readonly timeline = new Timeline({ rank: 0, size: 2, hostname: 'a', startUs: START_US, epochUs: 5e15 + 0.4, lastId: 0 });
  private readonly records: string[] = [];
  private lastId = 0;

  at(us: number): number {
    this.us = us;
    return START_US + us;
  }
  private get now(): number {
    return START_US + this.us;
  }
  /** By the main thread, and heard of at once. @returns its id */
  submit(one: Call): number {
    this.lastId += 1;
    this.timeline.submitted(this.lastId, one, this.now);
    this.main('submitted', this.lastId);
    return this.lastId;
  }
  main(event: keyof typeof mainEvents, id: number, until = this.us): boolean {
    return this.timeline.main(mainEvents[event], this.now, START_US + until, id);
  }
  get text(): string {
    this.records.push(...this.timeline.take());
    return `[${this.records.join(',')}]`;
  }
  get trace() {
    return readTrace(this.text);
  }
}

const shown = ({ name, from, until }: Slice): [string, number, number] => [name, from, until];
const of = (course: Course, process: string): Array<[string, number, number]> =>
  course.trace.slices.filter((slice) => slice.process === process).map(shown);

/** One call from submission to completion, with a neighbour that is carried out before it. */
function ordinary(): Course {
  const course = new Course();
  const { timeline } = course;
  const one = call('grad');
  const id = course.submit(one);
  timeline.ticked(0, one, course.at(10));
  timeline.ticked(1, one, course.at(50));
  timeline.decided([callKey(one)], 'allreduce', true, course.at(60));
  course.at(70);
  course.main('blocked', id);
  timeline.began([callKey(one)], course.at(80));
  timeline.activity([callKey(one)], 'MEMCPY_IN_FUSION_BUFFER', course.at(81));
  timeline.activity([callKey(one)], activityOf('recursive-doubling', 'allreduce'), course.at(90));
  timeline.ended(callKey(one), undefined, course.at(120));
  course.at(125);
  course.main('resumed', id);
  course.main('settled', id, 140);
  return course;
}

t.test('a call is negotiated, waits for its turn, is carried out', async (t) => {
  const course = ordinary();
  t.same(of(course, 'grad'), [
    ['NEGOTIATE_ALLREDUCE', 0, 60],
    ['0', 10, 10],
    ['1', 50, 50],
    ['ALLREDUCE', 60, 120],
    ['QUEUE', 60, 80],
    ['MEMCPY_IN_FUSION_BUFFER', 81, 90],
    ['RECURSIVE_DOUBLING_ALLREDUCE', 90, 120],
  ]);
  const { slices, problems } = course.trace;
  t.same(problems, []);
  t.same(slices.find(({ name }) => name === 'ALLREDUCE')?.args, { dtype: 'float32', shape: '[2, 3]', hidden_us: 70, exposed_us: 50 });
});

t.test('the main thread: hidden until it blocks, exposed until it goes on', async (t) => {
  const course = ordinary();
  t.same(of(course, 'rank 0 of 2 on a'), [
    ['HIDDEN_COMMUNICATION', 0, 70],
    ['EXPOSED_COMMUNICATION', 70, 125],
    ['MEMCPY_OUT_HOST_BUFFER', 125, 140],
  ]);
  const { slices } = course.trace;
  t.same(
    slices.filter(({ process }) => process.startsWith('rank')).map(({ thread, args }) => [thread, args]),
    [
      ['hidden communication', {}],
      ['main thread', { tensor: 'grad' }],
      ['main thread', { tensor: 'grad' }],
    ],
  );
});

t.test('the start is written down as wall-clock time', async (t) => {
  const [first] = JSON.parse(new Course().text) as Array<{ name: string; args: object }>;
  t.match(first, { name: 'process_name', pid: 0, args: { start_time_since_epoch_in_micros: 5e15 } });
});

t.test('what is not complete stands there as begun, with the ranks that have come', async (t) => {
  const course = new Course();
  const one = call('stuck');
  course.timeline.ticked(1, one, course.at(5));
  t.same(of(course, 'stuck'), [
    ['NEGOTIATE_ALLREDUCE', 5, Number.POSITIVE_INFINITY],
    ['1', 5, 5],
  ]);
  course.timeline.close(course.at(9));
  t.same(of(course, 'stuck')[0], ['NEGOTIATE_ALLREDUCE', 5, 9], 'stopping ends it');
});

t.test('fused calls go through the same, each on its own track', async (t) => {
  const course = new Course();
  const calls = ['a', 'b'].map((name) => call(name));
  for (const one of calls) course.submit(one);
  const keys = calls.map(callKey);
  course.timeline.decided(keys, 'allreduce', false, course.at(1));
  course.timeline.began(keys, course.at(1));
  course.timeline.activity(keys, 'RING_ALLREDUCE', course.at(2));
  for (const key of keys) course.timeline.ended(key, undefined, course.at(course.us + 3));
  t.same(of(course, 'a').slice(1), [
    ['ALLREDUCE', 1, 5],
    ['RING_ALLREDUCE', 2, 5],
  ]);
  t.same(of(course, 'b').slice(1), [
    ['ALLREDUCE', 1, 8],
    ['RING_ALLREDUCE', 2, 8],
  ]);
});

t.test('a mismatch is an ERROR that says what was wrong', async (t) => {
  const course = new Course();
  const one = call('odd');
  course.submit(one);
  course.timeline.decided([callKey(one)], 'error', false, course.at(4));
  course.timeline.ended(callKey(one), { code: 'ERR_HVD_MISMATCH', message: 'm'.repeat(1000) }, course.at(5));
  const slice = course.trace.slices.find(({ name }) => name === 'ERROR');
  t.match(slice, { from: 4, until: 5, args: { error: 'ERR_HVD_MISMATCH', message: 'm'.repeat(300) } });
});

t.test('calls without a name share a process: each has a lane while it lasts, and says who it is', async (t) => {
  const course = new Course();
  const calls = [1, 2, 3].map((n) => call(`allreduce.noname.${n}`));
  course.submit(calls[0]!);
  course.submit(calls[1]!);
  course.timeline.ended(callKey(calls[0]!), undefined, course.at(5));
  course.at(6);
  course.submit(calls[2]!);
  const { slices, processes, problems } = course.trace;
  t.same(problems, []);
  t.same(processes, ['rank 0 of 2 on a', 'allreduce.noname']);
  const named = slices.filter(({ process }) => process === 'allreduce.noname').map(({ args }) => args.tensor);
  t.same(
    named,
    calls.map(({ name }) => name),
  );
  t.equal(course.text.match(/"ph":"B","pid":1,"tid":0/g)?.length, 2, 'the first lane is used again');
});

t.test('one name on two process sets is two operations', async (t) => {
  const course = new Course();
  const calls = [0, 1].map((processSet) => call('same', { processSet }));
  for (const one of calls) course.submit(one);
  for (const one of calls) course.timeline.ended(callKey(one), undefined, course.at(course.us + 5));
  t.same(of(course, 'same'), [
    ['NEGOTIATE_ALLREDUCE', 0, 5],
    ['NEGOTIATE_ALLREDUCE', 0, 10],
  ]);
});

t.test('names that are made up anew for ever share one process in the end', async (t) => {
  const course = new Course();
  for (let i = 0; i < 5000; i += 1) {
    const one = call(`step ${i}`);
    course.submit(one);
    course.timeline.ended(callKey(one), undefined, course.at(i + 1));
  }
  const { processes, slices } = course.trace;
  t.equal(processes.length, 4096 + 2);
  t.match(
    slices.find(({ args }) => args.tensor === 'step 4999'),
    { process: '(more tensors)', name: 'NEGOTIATE_ALLREDUCE' },
  );
});

t.test('names of users are texts, whatever is in them', async (t) => {
  const course = new Course();
  const name = 'a"b\\c\n}]\u2028 ü:1';
  course.submit(call(name));
  course.main('blocked', 1);
  t.ok(course.trace.processes.includes(name));
  t.same(of(course, name)[0]?.[0], 'NEGOTIATE_ALLREDUCE');
});

t.test('an event of the main thread waits for the call that it is of', async (t) => {
  const course = new Course();
  t.equal(course.main('copiedIn', 1, 3), false, 'not heard of yet');
  course.timeline.submitted(1, call('late'), course.at(2));
  t.equal(course.main('copiedIn', 1, 3), true);
  t.equal(course.main('step', 0), true, 'one that is of no call does not');
});

t.test('hidden: any call in flight counts, and only while the main thread runs', async (t) => {
  const course = new Course();
  const calls = ['a', 'b'].map((name) => call(name));
  const [a] = calls.map((one) => course.submit(one));
  course.at(10);
  course.main('blocked', a!);
  course.timeline.ended(callKey(calls[0]!), undefined, course.at(20));
  course.at(22);
  course.main('resumed', a!);
  course.timeline.ended(callKey(calls[1]!), undefined, course.at(40));
  course.at(50);
  course.timeline.close(course.at(60));
  const { slices, instants } = course.trace;
  t.same(slices.filter(({ name }) => name === 'HIDDEN_COMMUNICATION').map(shown), [
    ['HIDDEN_COMMUNICATION', 0, 10],
    ['HIDDEN_COMMUNICATION', 22, 40],
  ]);
  t.same(instants.at(-1), { name: 'COMMUNICATION_TOTALS', at: 60, args: { operations: 2, hidden_us: 28, exposed_us: 12 } });
  const facts = (process: string): object => slices.find((slice) => slice.process === process && slice.depth === 0)!.args;
  t.match(facts('a'), { hidden_us: 10, exposed_us: 10 });
  t.match(facts('b'), { hidden_us: 28, exposed_us: 12 });
});

t.test('each step of an optimizer says what was hidden and what exposed in it', async (t) => {
  const course = new Course();
  for (let step = 0; step < 2; step += 1) {
    const one = call('grad');
    const id = course.submit(one);
    course.at(course.us + 10);
    course.main('blocked', id);
    course.timeline.ended(callKey(one), undefined, course.at(course.us + 5));
    course.main('resumed', id);
    course.at(course.us + 1);
    course.main('step', 0);
  }
  const steps = course.trace.slices.filter(({ name }) => name === 'STEP');
  t.same(
    steps.map(({ from, until, args }) => [from, until, args]),
    [
      [0, 16, { step: 1, hidden_us: 10, exposed_us: 5 }],
      [16, 32, { step: 2, hidden_us: 10, exposed_us: 5 }],
    ],
  );
});

t.test('lost events of the main thread are counted, and end what it was doing', async (t) => {
  const course = new Course();
  const id = course.submit(call('x'));
  course.main('blocked', id);
  course.timeline.lost(7, course.at(5));
  course.at(6);
  course.main('resumed', id);
  const { slices, instants, problems } = course.trace;
  t.same(problems, []);
  t.match(instants, [{ name: 'LOST_EVENTS', at: 5, args: { events: 7 } }]);
  t.same(slices.filter(({ name }) => name === 'EXPOSED_COMMUNICATION').map(shown), [['EXPOSED_COMMUNICATION', 0, 5]]);
});

t.test('cycles are instants', async (t) => {
  const course = new Course();
  course.timeline.cycle(course.at(3));
  t.same(course.trace.instants, [{ name: 'CYCLE_START', at: 3, args: {} }]);
});

t.test('whatever happens, in whatever order: a viewer finds nothing to object to', async () => {
  const event = fc.record({ kind: fc.nat(10), name: fc.nat(3), us: fc.nat(20) });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), (events) => {
      const course = new Course();
      const { timeline } = course;
      const names = ['a', 'b', 'allreduce.noname.1', 'allreduce.noname.2'];
      let last = 0;
      for (const { kind, name, us } of events) {
        const one = call(names[name]!);
        const key = callKey(one);
        const now = course.at(course.us + us);
        if (kind === 0) last = course.submit(one);
        if (kind === 1) timeline.ticked(1, one, now);
        if (kind === 2) timeline.decided([key], 'allreduce', us % 2 === 0, now);
        if (kind === 3) timeline.began([key], now);
        if (kind === 4) timeline.activity([key], 'RING_ALLREDUCE', now);
        if (kind === 5) timeline.ended(key, undefined, now);
        if (kind === 6) course.main('blocked', last);
        if (kind === 7) course.main('resumed', last);
        if (kind === 8) course.main('step', 0);
        if (kind === 9) timeline.lost(1, now);
        if (kind === 10) course.main('settled', last);
        if (readTrace(course.text).problems.length > 0) return false;
      }
      timeline.close(course.at(course.us + 1));
      const { slices, problems } = readTrace(course.text);
      return problems.length === 0 && slices.every(({ until }) => Number.isFinite(until));
    }),
  );
});
