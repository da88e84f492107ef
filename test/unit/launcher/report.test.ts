import t from 'tap';
import {
  CAUSE_WAIT_MS,
  type Ending,
  firstFailure,
  jobExitCode,
  type RankEnd,
  reportLine,
  reportLines,
  waitBeforeEndingMs,
} from '../../../launcher/report';

const end = (label: string, rest: Partial<RankEnd> = {}): RankEnd => ({ label, host: 'h1', code: 0, isEndedByUs: false, atMs: 0, ...rest });
const peer = { code: 'ERR_HVD_PEER', message: 'Rank 1 is gone.' };

t.test('first is what was known first', async (t) => {
  t.equal(firstFailure([]), undefined);
  t.equal(firstFailure([end('0'), end('1')]), undefined);
  t.equal(firstFailure([end('0'), end('2', { code: 5 }), end('1', { code: 3, atMs: 1 })])?.label, '2');
  t.equal(firstFailure([end('0', { code: undefined, signal: 'SIGTERM', isEndedByUs: true })]), undefined, 'whom we ended has not failed');
});

t.test('a rank that failed because of another gives way to a failure within 2 s', async (t) => {
  const consequence = end('0', { code: 1, record: peer });
  t.equal(firstFailure([consequence])?.label, '0');
  t.equal(firstFailure([consequence, end('1', { code: undefined, signal: 'SIGKILL', atMs: CAUSE_WAIT_MS })])?.label, '1');
  t.equal(firstFailure([consequence, end('1', { code: 4, atMs: CAUSE_WAIT_MS + 1 })])?.label, '0', 'later ones do not count');
  t.equal(firstFailure([consequence, end('2', { code: 1, record: peer, atMs: 1 }), end('1', { code: 4, atMs: 2 })])?.label, '1');
  const step = end('2', { code: 1, record: { code: 'ERR_HVD_STEP', message: 'Another rank failed in the middle of a training step.' } });
  t.equal(firstFailure([step, end('1', { code: 4, atMs: 2 })])?.label, '1', 'whose step failed because of another rank');
  t.equal(waitBeforeEndingMs([], 0), undefined);
  t.equal(waitBeforeEndingMs([consequence], 500), CAUSE_WAIT_MS - 500);
  t.equal(waitBeforeEndingMs([consequence, end('1', { code: 4, atMs: 600 })], 600), 0);
});

t.test('the exit code: a user’s word, then the first failure, then what went wrong here', async (t) => {
  const table: Array<[number, Ending | undefined, RankEnd | undefined, boolean]> = [
    [0, undefined, undefined, false],
    [7, undefined, end('1', { code: 7 }), false],
    [137, undefined, end('1', { code: undefined, signal: 'SIGKILL' }), false],
    [130, { kind: 'signal', signal: 'SIGINT' }, end('1', { code: 7 }), false],
    [143, { kind: 'signal', signal: 'SIGTERM' }, undefined, false],
    [129, { kind: 'signal', signal: 'SIGHUP' }, undefined, false],
    [124, { kind: 'timeout', seconds: 2 }, undefined, false],
    [3, { kind: 'cannot-start', text: 'x' }, undefined, false],
    [1, { kind: 'agent', text: 'x' }, undefined, false],
    [7, { kind: 'agent', text: 'x' }, end('1', { code: 7 }), false],
    [1, undefined, undefined, true],
    [7, undefined, end('1', { code: 7 }), true],
  ];
  for (const [code, ending, first, hasLostOutput] of table) t.equal(jobExitCode(ending, first, hasLostOutput), code);
});

t.test('the verdict is the last line and names rank, host and code or signal', async (t) => {
  const first = end('1', { code: 7, host: 'h2' });
  const lines = reportLines(
    undefined,
    first,
    [first, end('2', { code: 3 }), end('0', { signal: 'SIGTERM', isEndedByUs: true })],
    ['out of memory'],
  );
  t.equal(lines.at(-1), 'tsrun: first, rank 1 on host h2 ended with exit code 7; the others were ended');
  t.ok(lines.includes('  | out of memory'));
  t.ok(lines.some((line) => /rank 2 .*code 3 as well/.test(line)));
  const killed = end('0', { code: undefined, signal: 'SIGKILL' });
  t.same(reportLines(undefined, killed, [killed], []), ['tsrun: rank 0 on host h1 was ended by signal SIGKILL (9)']);
  t.match(reportLines(undefined, end('0', { code: 1, record: peer }), [], []).join('\n'), /ERR_HVD_PEER.*\n.*Rank 1 is gone/);
  t.same(reportLines(undefined, undefined, [end('0')], []), []);
  const served = end('ps0', { code: 3, host: 'h2' });
  t.same(reportLines(undefined, served, [served], []), ['tsrun: ps0 on host h2 ended with exit code 3']);
  t.same(
    reportLines(undefined, killed, [killed, end('1'), end('ps0', { signal: 'SIGTERM', isEndedByUs: true })], []),
    ['tsrun: rank 0 on host h1 was ended by signal SIGKILL (9)'],
    'servers are ended after a job that went on, too',
  );
  t.same(reportLines({ kind: 'signal', signal: 'SIGINT' }, first, [first], ['x']), ['tsrun: ended by SIGINT']);
  t.same(reportLines({ kind: 'agent', text: 'the agent is gone' }, undefined, [], []), ['tsrun: the agent is gone']);
});

t.test('a server that left without an error is named where ranks have failed for want of it', async (t) => {
  const lost = end('0', { code: 1, record: peer, atMs: 5 });
  const before = end('ps0', { atMs: 4 });
  t.same(reportLines(undefined, lost, [before, lost], []).slice(-2), [
    'tsrun: ps0 on host h1 ended with exit code 0 before that',
    'tsrun: rank 0 on host h1 ended with exit code 1',
  ]);
  for (const other of [end('ps0', { atMs: 6 }), end('1', { atMs: 4 }), end('ps0', { atMs: 4, isEndedByUs: true })])
    t.notMatch(reportLines(undefined, lost, [other, lost], []).join('\n'), /before that/);
  const own = end('0', { code: 7, atMs: 5 });
  t.notMatch(reportLines(undefined, own, [before, own], []).join('\n'), /before that/, 'a failure of its own');
});

t.test('reports of ranks are one line, whatever they hold', async (t) => {
  t.equal(reportLine(0, '{"imagesPerSec":812.5,"note":"a\\nb"}'), 'tsrun: rank 0 reports imagesPerSec 812.5, note a b');
  t.equal(reportLine(3, 'no json\u001b[2J'), 'tsrun: rank 3 reports no json [2J');
});
