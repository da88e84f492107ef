import t from 'tap';
import { folderOf } from '../../../launcher/folder';
import { assign, parseHosts } from '../../../launcher/hosts';
import { rankVariables, serverVariables } from '../../../launcher/identities';
import { formatMap } from '../../../launcher/map';
import { hostsOfJob, placeServers } from '../../../launcher/servers';
import { readConfig } from '../../../src/config';

const named = ({ host, user }: { host: string; user?: string }): string => (user === undefined ? host : `${user}@${host}`);

t.test('servers stand on the hosts in turn, or on those of --ps-hosts', async (t) => {
  const table: Array<[number, string, string | undefined, string[]]> = [
    [0, 'h1,h2', undefined, []],
    [1, 'h1:4,h2:4', undefined, ['h1']],
    [3, 'h1:4,h2:1', undefined, ['h1', 'h2', 'h1']],
    [2, 'h1:1,h2:1,h3:1', undefined, ['h1', 'h2']],
    [5, 'node[1-3]', undefined, ['node1', 'node2', 'node3', 'node1', 'node2']],
    [3, 'h1,h2', 'h2', ['h2', 'h2', 'h2']],
    [3, 'h1,h2', 's[1-2]', ['s1', 's2', 's1']],
    [2, 'h1', 's1:9,s2:1', ['s1', 's2']],
    [2, 'ann@h1,h2', 'h1,h2', ['ann@h1', 'h2']],
    [1, 'ann@h1', 'bob@h1', ['bob@h1']],
    [1, 'h1', '[fd00::1]', ['fd00::1']],
  ];
  for (const [count, hosts, list, expected] of table) {
    const placed = placeServers(count, parseHosts(hosts), list === undefined ? undefined : parseHosts(list));
    t.same(placed.map(named), expected, `${count} on ${hosts}, ${list}`);
    t.same(
      placed.map(({ server }) => server),
      expected.map((_, i) => i),
    );
  }
});

t.test('a host is one of the job once, those with ranks first; one without either is none', async (t) => {
  const hosts = parseHosts('h1:2,h2:2,h3:2');
  const ranks = assign(3, hosts, { oversubscribe: false });
  t.same(hostsOfJob(ranks, []).map(named), ['h1', 'h2']);
  t.same(hostsOfJob(ranks, placeServers(2, hosts)).map(named), ['h1', 'h2']);
  t.same(hostsOfJob(ranks, placeServers(3, hosts)).map(named), ['h1', 'h2', 'h3']);
  t.same(hostsOfJob(ranks, placeServers(3, hosts, parseHosts('s1,h2,ann@h1'))).map(named), ['h1', 'h2', 's1', 'ann@h1']);
});

t.test('the map has a row a server behind those of the ranks', async (t) => {
  const hosts = parseHosts('h1,ann@h2');
  const lines = formatMap(assign(2, hosts, { oversubscribe: false }), placeServers(2, hosts), ['train.ts']).split('\n');
  t.equal(lines.length, 5);
  t.match(lines[3], /^ps0 +h1 +- +- +- +train\.ts$/);
  t.match(lines[4], /^ps1 +ann@h2 +- +- +- +train\.ts$/);
});

t.test('folders for the output sort as numbers do', async (t) => {
  const labels = [...Array.from({ length: 11 }, (_, i) => String(i)), 'ps0', 'ps1'];
  t.equal(folderOf('/logs', '3', labels), '/logs/rank.03');
  t.equal(folderOf('/logs', 'ps1', labels), '/logs/ps.1');
  t.equal(
    folderOf(
      '/logs',
      'ps2',
      Array.from({ length: 12 }, (_, i) => `ps${i}`),
    ),
    '/logs/ps.02',
  );
});

const crew = { ranks: 4, servers: 2, keepsGoing: true, terminalColumns: 80 };

t.test('a server learns who it is, and nothing that a rank is', async (t) => {
  const env = serverVariables(1, 'h2', crew);
  t.match(readConfig(env), { server: 1, servers: 2, workers: 4, host: 'h2', keepGoing: true, terminalColumns: 80 });
  t.same([env.CUDA_VISIBLE_DEVICES, env.HIP_VISIBLE_DEVICES], ['', ''], 'no GPU');
  t.same(
    Object.keys(env).filter((name) => name.startsWith('HOROVOD_')),
    [],
  );
});

t.test('a rank learns how many servers there are, and nothing that a server is', async (t) => {
  const [, rank] = assign(4, parseHosts('h1,h2'), { oversubscribe: false });
  const config = readConfig(rankVariables(rank!, 'h1', crew));
  t.match(config, {
    rank: 1,
    size: 4,
    localRank: 1,
    localSize: 2,
    crossRank: 0,
    crossSize: 2,
    hostname: 'h1',
    servers: 2,
    keepGoing: true,
  });
  t.same([config.server, config.workers, config.host], [undefined, 0, '']);
  const alone = rankVariables(rank!, 'h1', { ...crew, servers: 0, keepsGoing: false });
  t.notOk('TSRUN_SERVERS' in alone || 'TSRUN_KEEP_GOING' in alone, 'a job without servers does not speak of them');
});
