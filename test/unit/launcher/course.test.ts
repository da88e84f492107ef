import t from 'tap';
import { courseOf, isSurvived, type Running, SERVER_GRACE_MS } from '../../../launcher/course';
import { CAUSE_WAIT_MS, type RankEnd } from '../../../launcher/report';

const ended = (label: string, code = 0, atMs = 0): RankEnd => ({ label, host: 'h1', code, isEndedByUs: false, atMs });
const consequence = (label: string, atMs = 0): RankEnd => ({ ...ended(label, 1, atMs), record: { code: 'ERR_HVD_PEER', message: 'gone' } });
const alone: Running = { ranks: 2, servers: 0, keepsGoing: false, othersThroughMs: Number.NEGATIVE_INFINITY };
const served: Running = { ...alone, servers: 2 };
const going: Running = { ...served, keepsGoing: true };
const failure = (afterMs: number) => ({ kind: 'failure', afterMs });
const over = (afterMs: number) => ({ kind: 'no rank is left', afterMs });

t.test('what ends a job, and when', async (t) => {
  const table: Array<[string, Running, RankEnd[], ReturnType<typeof failure> | ReturnType<typeof over> | undefined]> = [
    ['nothing has ended', served, [], undefined],
    ['a rank is done early', served, [ended('0')], undefined],
    ['a rank fails', served, [ended('0', 7)], failure(0)],
    ['a rank fails because of another', served, [consequence('0', 100)], failure(CAUSE_WAIT_MS - 900)],
    ['without servers the agents end by themselves', alone, [ended('0'), ended('1')], undefined],
    ['the servers have a while', served, [ended('0'), ended('1', 0, 400)], over(SERVER_GRACE_MS - 600)],
    ['one server is left', served, [ended('ps1'), ended('0'), ended('1', 0, 400)], over(SERVER_GRACE_MS - 600)],
    ['and what is late is over', served, [ended('0', 0, -9000), ended('1', 0, -8000)], over(0)],
    ['the servers are done too', served, [ended('0'), ended('1'), ended('ps0'), ended('ps1')], undefined],
    ['a server is done before the ranks: any command may be one', served, [ended('ps0'), ended('ps1')], undefined],
    ['a server fails', served, [ended('ps0', 3)], failure(0)],
    ['a server fails after the ranks', served, [ended('0'), ended('1'), ended('ps0', 3)], failure(0)],
    ['--keep-going: a rank fails', going, [ended('0', 7)], undefined],
    ['--keep-going: one has failed, one is done', going, [ended('0', 7), ended('1', 0, 1000)], over(SERVER_GRACE_MS)],
    ['--keep-going: all have failed', going, [ended('0', 7), ended('1', 7)], over(0)],
    ['--keep-going: a server fails', going, [ended('0', 7), ended('ps1', 1)], failure(0)],
    ['--keep-going: a server fails because of a rank', going, [ended('0', 7), consequence('ps1', 900)], failure(CAUSE_WAIT_MS - 100)],
    ['--keep-going without servers', { ...going, servers: 0 }, [ended('0', 7), ended('1', 7)], undefined],
    ['ranks of other hosts run', { ...served, othersThroughMs: undefined }, [ended('0'), ended('1')], undefined],
    ['they were the last', { ...served, othersThroughMs: 900 }, [ended('0'), ended('1')], over(SERVER_GRACE_MS - 100)],
    ['they had ended well', { ...going, othersThroughMs: 900 }, [ended('0', 7), ended('1', 7)], over(SERVER_GRACE_MS - 100)],
  ];
  for (const [what, running, ends, expected] of table) t.same(courseOf(ends, running, 1000), expected, what);
});

t.test('ranks that we ended have not failed', async (t) => {
  const byUs = { ...ended('0', 143), isEndedByUs: true };
  t.equal(courseOf([byUs], served, 0), undefined);
});

t.test('with --keep-going a job survives a rank, as long as there is another', async (t) => {
  const failed = ended('0', 7);
  t.ok(isSurvived(failed, [failed], going));
  t.notOk(isSurvived(failed, [failed], served), 'without it');
  t.notOk(isSurvived(failed, [ended('1'), failed], going), 'the last one');
  t.ok(isSurvived(failed, [ended('1'), failed], { ...going, othersThroughMs: undefined }), 'but for those of other hosts');
  t.notOk(isSurvived(ended('0'), [ended('0')], going), 'that has not failed');
  t.notOk(isSurvived(ended('ps0', 7), [ended('ps0', 7)], going), 'a server');
});
