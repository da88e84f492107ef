import t from 'tap';
import { noticeOfTcp, type OwnSocket, reachedByUnixSocket } from '../../../src/engine/neighbours';

/** `host` or `host:scope` for each member, whose socket is then called u0, u1, …; those without a scope have none. */
const recordsOf = (text: string) =>
  text.split(' ').map((word, rank) => {
    const [host, unixScope = ''] = word.split(':') as [string, string?];
    return { rank, host, unixScope, unixName: unixScope && `u${rank}` };
  });
const ownOf = (text: string, member: number): OwnSocket => {
  const { unixName: name, unixScope: scope } = recordsOf(text)[member]!;
  return scope === '' ? { why: 'of a reason' } : { place: { name, scope } };
};

t.test('reached by a Unix socket are those of the same scope, whatever their hosts are called', async (t) => {
  const table: Array<[string, number, Array<[number, string]>]> = [
    ['a:x', 0, []],
    ['a:x a:x b:y', 0, [[1, 'u1']]],
    ['a:x b:x a:y', 0, [[1, 'u1']]],
    [
      'a:x a:x a:x',
      1,
      [
        [0, 'u0'],
        [2, 'u2'],
      ],
    ],
    ['a:x a b', 0, []],
    ['a a:x a:x', 0, []],
  ];
  for (const [text, member, expected] of table) {
    const near = reachedByUnixSocket(ownOf(text, member), member, recordsOf(text));
    t.same(
      [...near].map(([rank, found]) => [rank, found?.unixName]),
      expected,
      `${member} of ${text}`,
    );
  }
});

t.test('that TCP is used is said where Unix sockets were asked for, or the system refused one', async (t) => {
  const notice = (text: string, transport: 'auto' | 'unix', own = ownOf(text, 0)) => noticeOfTcp({ transport }, own, 0, recordsOf(text));
  for (const text of ['a:x a:x', 'a:x b:y', 'a b:y']) t.equal(notice(text, 'unix'), undefined, text);
  t.match(notice('a:x a:y', 'unix'), 'The processes on host a exchange by TCP, not by Unix sockets: they see different networks');
  t.match(notice('a:x a', 'unix'), 'or one of them has none');
  t.match(notice('a a:x', 'unix'), 'not by Unix sockets: of a reason.');
  t.equal(notice('a:x a:y', 'auto'), undefined);
  t.equal(notice('a a:x', 'auto'), undefined);
  t.match(notice('a a:x', 'auto', { why: 'the system refuses one (EPERM)', isRefused: true }), /refuses one \(EPERM\)\.$/);
});
