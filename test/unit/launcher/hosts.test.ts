import os from 'node:os';
import t from 'tap';
import { assign, parseHostfile, parseHosts } from '../../../launcher/hosts';
import { isThisMachine } from '../../../launcher/local_hosts';
import { formatMap } from '../../../launcher/map';

const short = (text: string) =>
  parseHosts(text).map(({ host, user, slots }) => `${user ? `${user}@` : ''}${host}${slots === undefined ? '' : `:${slots}`}`);

t.test('host lists in every form are read', async (t) => {
  const table: Array<[string, string[]]> = [
    ['h1:4,h2:4', ['h1:4', 'h2:4']],
    ['h1, h2', ['h1', 'h2']],
    ['localhost', ['localhost']],
    ['node[01-03]:2', ['node01:2', 'node02:2', 'node03:2']],
    ['node[8-11]', ['node8', 'node9', 'node10', 'node11']],
    ['n[1,3-4]x:1,m', ['n1x:1', 'n3x:1', 'n4x:1', 'm']],
    ['r[1-2]n[1-2]', ['r1n1', 'r1n2', 'r2n1', 'r2n2']],
    ['ann@h1:2', ['ann@h1:2']],
    ['[fd00::1]:2,[::1]', ['fd00::1:2', '::1']],
    ['10.0.0.1:3', ['10.0.0.1:3']],
    ['a-b.c-d.example:1', ['a-b.c-d.example:1']],
    ['h1:2,h1:3', ['h1:5']],
  ];
  for (const [text, hosts] of table) t.same(short(text), hosts, text);
});

t.test('malformed host lists are refused with the entry', async (t) => {
  const table: Array<[string, RegExp]> = [
    ['', /empty entry/],
    ['h1,,h2', /empty entry/],
    ['h1:', /h1:4/],
    ['h1:two', /'two'/],
    ['h1:-2', /'-2'/],
    ['h1:0', /'0'/],
    ['node[01-', /not closed/],
    ['node]', /without '\['/],
    ['node[3-1]', /empty or too long/],
    ['node[a-b]', /'a-b'/],
    ['fd00::1', /no number of slots|brackets/],
    ['@h1', /before '@'/],
    ['h_1!', /no host name/],
    ['-oProxyCommand=x', /no host name/],
  ];
  for (const [text, pattern] of table) t.throws(() => parseHosts(text), { exitCode: 2, message: pattern }, text);
});

t.test('hostfiles: comments, blank lines, both forms, max_slots; errors name file and line', async (t) => {
  t.same(
    parseHostfile('# lab\n\nh1 slots=4 max_slots=8\n  h2:3   # three\nann@h3\n[fd00::1] slots=1', 'lab').map(
      ({ host, user, slots, maxSlots }) => [host, user, slots, maxSlots],
    ),
    [
      ['h1', undefined, 4, 8],
      ['h2', undefined, 3, undefined],
      ['h3', 'ann', undefined, undefined],
      ['fd00::1', undefined, 1, undefined],
    ],
  );
  t.throws(() => parseHostfile('h1\n\nh2 slots=many\n', 'lab'), /hostfile lab, line 3: 'slots=many'/);
  t.throws(() => parseHostfile('h1 slot=2\n', 'lab'), /line 1: 'slot=2' is unknown/);
  t.throws(() => parseHostfile('h1:2 slots=2\n', 'lab'), /line 1: slots are given twice/);
  t.throws(() => parseHostfile('# nothing\n', 'lab'), /names no host/);
});

const counts = (np: number, hosts: string, oversubscribe = false) => {
  const result: Record<string, number> = {};
  for (const { host } of assign(np, parseHosts(hosts), { oversubscribe })) result[host] = (result[host] ?? 0) + 1;
  return result;
};

t.test('processes fill the hosts in order; hosts without slots share the rest', async (t) => {
  const table: Array<[number, string, Record<string, number>]> = [
    [8, 'h1,h2', { h1: 4, h2: 4 }],
    [7, 'h1,h2', { h1: 4, h2: 3 }],
    [8, 'h1:2,h2,h3', { h1: 2, h2: 3, h3: 3 }],
    [6, 'h1:4,h2:4', { h1: 4, h2: 2 }],
    [2, 'h1:4', { h1: 2 }],
    [1, 'h1,h2', { h1: 1 }],
  ];
  for (const [np, hosts, expected] of table) t.same(counts(np, hosts), expected, `${np} on ${hosts}`);
  t.same(counts(5, 'h1:1,h2:2', true), { h1: 2, h2: 3 }, 'oversubscribed: one more each in turn');
});

t.test('too few slots is exit 4 and names both numbers; max_slots holds even when oversubscribed', async (t) => {
  t.throws(() => counts(37, 'h1:20,h2:3'), { exitCode: 4, message: /37 .* 23 slots/ });
  const limited = parseHostfile('h1 slots=1 max_slots=2\n', 'f');
  t.equal(assign(2, limited, { oversubscribe: true }).length, 2);
  t.throws(() => assign(3, limited, { oversubscribe: true }), { exitCode: 4, message: /max_slots/ });
});

t.test('local and cross ranks are Horovod’s', async (t) => {
  const rows = assign(3, parseHosts('w0:1,w1:2'), { oversubscribe: false });
  t.same(
    rows.map(({ rank, host, localRank, localSize, crossRank, crossSize }) => [rank, host, localRank, localSize, crossRank, crossSize]),
    [
      [0, 'w0', 0, 1, 0, 2],
      [1, 'w1', 0, 2, 1, 2],
      [2, 'w1', 1, 2, 0, 1],
    ],
  );
});

t.test('the map has a row a rank with the command as a shell would read it', async (t) => {
  const lines = formatMap(assign(2, parseHosts('h1,h2'), { oversubscribe: false }), [], ['train.ts', '--note', "it's me"]).split('\n');
  t.equal(lines.length, 3);
  t.match(lines[1], /^0 +h1 .*train\.ts --note 'it'\\''s me'$/);
});

t.test('this machine is known under its names and addresses', async (t) => {
  const addresses = Object.values(os.networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));
  for (const name of ['localhost', 'LOCALHOST.', 'x.localhost', '127.0.0.1', '127.3.4.5', '::1', '[::1]', os.hostname(), ...addresses])
    t.ok(isThisMachine(name), name);
  for (const name of ['h1', 'localhost.example', '192.0.2.1', '128.0.0.1']) t.notOk(isThisMachine(name), name);
});
