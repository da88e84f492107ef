import fc from 'fast-check';
import t from 'tap';
import { LineAssembler, Screen, Tail } from '../../../launcher/output';

const text = (parts: readonly Buffer[]) => parts.map((part) => part.toString());
const bytes = (...parts: string[]) => parts.map((part) => Buffer.from(part));

t.test('lines are held until they are whole, parts of progress bars are not', async (t) => {
  const lines = new LineAssembler();
  t.same(text(lines.push(Buffer.from('one\ntw'))), ['one\n']);
  t.same(text(lines.push(Buffer.from('o\n10%\r20'))), ['two\n', '10%\r']);
  t.same(text(lines.push(Buffer.from('%\r\n'))), ['20%\r', '\n']);
  t.same(text(lines.push(Buffer.from('end'))), []);
  t.same(text(lines.end()), ['end']);
  t.same(text(lines.end()), []);
});

t.test('however the bytes are cut, the lines are the same', async (t) => {
  const run = fc.check(
    fc.property(fc.string({ unit: fc.constantFrom('a', 'я', '🚀', '\n', '\r') }), fc.array(fc.nat(7)), (whole, cuts) => {
      const data = Buffer.from(whole);
      const lines = new LineAssembler();
      const found: Buffer[] = [];
      let from = 0;
      for (const cut of [...cuts, data.length]) {
        found.push(...lines.push(data.subarray(from, from + cut)));
        from = Math.min(data.length, from + cut);
      }
      found.push(...lines.end());
      const expected = new LineAssembler();
      return JSON.stringify(text(found)) === JSON.stringify(text([...expected.push(data), ...expected.end()]));
    }),
    { seed: 1 },
  );
  t.notOk(run.failed, JSON.stringify(run.counterexample));
});

t.test('an endless line comes in pieces, cut between characters, so that what is held is bounded', async (t) => {
  const lines = new LineAssembler(10);
  const pieces = [...lines.push(Buffer.from('яяяяяяяя')), ...lines.end()];
  t.same(text(pieces), ['яяяяя', 'яяя']);
  t.same(text(new LineAssembler(4).push(Buffer.from('a🚀🚀'))), ['a', '🚀', '🚀'], 'a character that does not fit begins the next piece');
});

t.test('each line has its prefix, a last one without newline gets one', async (t) => {
  const screen = new Screen({ prefix: true, timestamp: false });
  t.equal(screen.render('[0]<stdout>', bytes('a\n', 'b'), new Date()).toString(), '[0]<stdout>:a\n[0]<stdout>:b\n');
  t.equal(new Screen({ prefix: false, timestamp: false }).render('x', bytes('a\n'), new Date()).toString(), 'a\n');
  t.match(
    new Screen({ prefix: true, timestamp: true }).render('[1]<stderr>', bytes('a\n'), new Date()).toString(),
    /^\w{3} \w{3} \d\d \d\d:\d\d:\d\d \d{4}\[1\]<stderr>:a\n$/,
  );
});

t.test('a progress line is ended before another rank writes, and its own newline is not doubled', async (t) => {
  const screen = new Screen({ prefix: true, timestamp: false });
  const say = (source: string, ...parts: string[]) => screen.render(source, bytes(...parts), new Date()).toString();
  t.equal(say('[0]', '10%\r'), '[0]:10%\r');
  t.equal(say('[0]', '20%\r'), '[0]:20%\r');
  t.equal(say('[1]', 'hello\n'), '\n[1]:hello\n');
  t.equal(say('[0]', '\n'), '', 'the line was ended already');
  t.equal(say('[0]', '30%\r'), '[0]:30%\r');
  t.equal(say('[0]', '\n'), '\n');
  t.equal(say('[0]', '40%\r'), '[0]:40%\r');
  t.equal(screen.own('tsrun: x').toString(), '\ntsrun: x\n');
  t.equal(say('[0]', '50%\r'), '[0]:50%\r');
  t.equal(screen.close('[0]').toString(), '\n');
});

t.test('the tail keeps the last lines, without what a progress bar has overwritten', async (t) => {
  const tail = new Tail(3, 10);
  tail.push(bytes('1\n', '2\n', '10%\r', '20%\r', '\n', '3\n', `${'x'.repeat(20)}\n`));
  t.same(tail.text, ['20%', '3', `${'x'.repeat(10)}…`]);
});
