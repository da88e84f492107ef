import t from 'tap';
import { parseCommandLine } from '../../../launcher/args';
import { LaunchError } from '../../../launcher/errors';
import type { RunRequest } from '../../../launcher/request';
import type { Outside } from '../../../launcher/settings';

const files: Record<string, string> = {
  '/home/me/train.ts': '',
  '/home/me/plain.js': '',
  '/home/me/tool': '',
  '/home/me/bin/tool': '',
  '/other/train.ts': '',
  '/home/me/lab.hosts': 'h1 slots=2\nh2 slots=2\n',
  '/home/me/job.env': '# of the job\n\nA=1\nB= two words # and more \nC=\n',
  '/home/me/broken.env': 'A=1\nnot an assignment\n',
  '/home/me/servers.yaml': 'np: 2\nps: 2\nps_hosts: s1\nkeep-going: true\n',
  '/home/me/config.yaml': 'params:\n  cycle_time_ms: 5\n  fusion_threshold_mb: 16\nstall_check:\n  enabled: false\nnp: 3\n',
};
const outside: Outside = {
  cwd: '/home/me',
  env: { HOME: '/home/me', HOROVOD_CYCLE_TIME: '77' },
  readText(file) {
    if (!(file in files)) throw new Error(`ENOENT: no such file or directory, open '${file}'`);
    return files[file]!;
  },
  isFile: (file) => file in files,
};
const parse = (...words: string[]) => parseCommandLine(words, outside, '/pkg/collective.js');
function request(...words: string[]): RunRequest {
  const line = parse(...words);
  if (line.kind !== 'run' && line.kind !== 'bench') throw new Error(`it is ${line.kind}`);
  return line.request;
}
function refusal(...words: string[]): string {
  try {
    parse(...words);
  } catch (error) {
    if (error instanceof LaunchError && error.exitCode === 2) return error.message;
    throw error;
  }
  throw new Error(`accepted: ${words.join(' ')}`);
}

t.test('options end at the script, and everything behind it is the script’s', async (t) => {
  const rest = ['--lr', '0.1', '-np', '9', '--help', '--', '-x', '007', '', '--config-file=no'];
  const { np, command, isScript } = request('-np', '2', 'train.ts', ...rest);
  t.equal(np, 2);
  t.ok(isScript);
  t.same(command, ['train.ts', ...rest]);
});

t.test('every spelling of the number of processes is understood', async (t) => {
  for (const words of [['-np', '4'], ['--np', '4'], ['-np=4'], ['--np=4'], ['--num-proc', '4'], ['--num-proc=4'], ['run', '-np', '4']])
    t.equal(request(...words, 'train.ts').np, 4, words.join(' '));
});

t.test('behind -- stands any command', async (t) => {
  const { command, isScript } = request('-np', '1', '--', 'node', '-e', '1', '--', 'x');
  t.notOk(isScript);
  t.same(command, ['node', '-e', '1', '--', 'x']);
  t.notOk(request('-np', '1', '--', 'train.ts').isScript, 'even a file that looks like a script');
  t.match(refusal('-np', '1', '--'), /no command/);
});

t.test('a program of the user’s is told from a script', async (t) => {
  t.notOk(request('-np', '1', 'bin/tool', 'a').isScript);
  t.ok(request('-np', '1', 'plain.js').isScript);
  t.match(refusal('-np', '1', 'python', 'a.py'), /-- python/, 'what is no file is named, with the way to run a command');
});

t.test('a script is looked for in the working directory of the ranks', async (t) => {
  t.equal(request('-np', '1', '--wdir', '/other', 'train.ts').wdir, '/other');
  t.match(refusal('-np', '1', '--wdir', '/other', 'plain.js'), /no script plain\.js in \/other/);
});

t.test('what is wrong is refused with a line that names it', async (t) => {
  const table: Array<[RegExp, ...string[]]> = [
    [/unknown option --bogus/, '-np', '2', '--bogus', 'train.ts'],
    [/unknown option --fusion-treshold-mb/, '-np', '2', '--fusion-treshold-mb', '4', 'train.ts'],
    [/--np is '0'.*>= 1/, '-np', '0', 'train.ts'],
    [/--np is '-3'/, '-np', '-3', 'train.ts'],
    [/--np is '2\.5'/, '-np', '2.5', 'train.ts'],
    [/--np is 'two'/, '-np', 'two', 'train.ts'],
    [/--np is ''/, '--np=', 'train.ts'],
    [/-np needs a value/, '-np'],
    [/how many processes/, 'train.ts'],
    [/which script/, '-np', '2'],
    [/no script nosuch\.ts/, '-np', '2', 'nosuch.ts'],
    [/--cycle-time-ms is '-1'/, '-np', '1', '--cycle-time-ms', '-1', 'train.ts'],
    [/--log-level is 'LOUD'.*TRACE/, '-np', '1', '--log-level', 'LOUD', 'train.ts'],
    [/--ps is '-1'.*>= 0/, '-np', '1', '--ps', '-1', 'train.ts'],
    [/--ps-hosts is 'h1', but how many .*--ps N/, '-np', '1', '--ps-hosts', 'h1', 'train.ts'],
    [/--ps-hosts: 'h_1!' is no host name/, '-np', '1', '--ps', '1', '--ps-hosts', 'h_1!', 'train.ts'],
    [/--strategy is 'star'/, '-np', '1', '--strategy', 'star', 'train.ts'],
    [/--port-range is '9-1'/, '-np', '1', '--port-range', '9-1', 'train.ts'],
    [/--blacklist-cooldown-range is '5 1'/, '-np', '1', '--blacklist-cooldown-range', '5', '1', 'train.ts'],
    [/-H and --hostfile exclude/, '-np', '1', '-H', 'h1', '--hostfile', 'lab.hosts', 'train.ts'],
    [/hostfile nosuch cannot be read/, '-np', '1', '--hostfile', 'nosuch', 'train.ts'],
    [/-x '1A=b'/, '-np', '1', '-x', '1A=b', 'train.ts'],
    [/broken\.env, line 2/, '-np', '1', '--env-file', 'broken.env', 'train.ts'],
    [/--stall-check and --no-stall-check contradict/, '-np', '1', '--stall-check', '--no-stall-check', 'train.ts'],
    [/analyze comes with a later version/, 'analyze', 'logs'],
    [/bench 'foo'/, 'bench', 'foo'],
    [/'train\.ts' is no option of it/, 'bench', 'allreduce', 'train.ts'],
  ];
  for (const [pattern, ...words] of table) t.match(refusal(...words), pattern, words.join(' '));
});

t.test('options become the ranks’ variables, under Horovod’s names', async (t) => {
  const { env } = request(
    '-np',
    '1',
    '--fusion-threshold-mb',
    '32',
    '--no-stall-check',
    '--hierarchical-allreduce',
    '--network-interface',
    'a,b',
    '--network-interface',
    'c',
    'train.ts',
  );
  t.match(env, {
    HOROVOD_FUSION_THRESHOLD: String(32 * 2 ** 20),
    HOROVOD_STALL_CHECK_DISABLE: '1',
    HOROVOD_HIERARCHICAL_ALLREDUCE: '1',
    TSRUN_NETWORK_INTERFACE: 'a,b,c',
    HOROVOD_CYCLE_TIME: '77',
    HOME: '/home/me',
  });
});

t.test('the command line beats the config file, which beats the caller’s variables', async (t) => {
  const fromFile = request('--config-file', 'config.yaml', 'train.ts');
  t.equal(fromFile.np, 3);
  t.match(fromFile.env, { HOROVOD_CYCLE_TIME: '5', HOROVOD_FUSION_THRESHOLD: String(16 * 2 ** 20), HOROVOD_STALL_CHECK_DISABLE: '1' });
  const both = request('--cycle-time-ms', '2', '--config-file', 'config.yaml', '-np', '1', '--stall-check', 'train.ts');
  t.equal(both.np, 1);
  t.match(both.env, { HOROVOD_CYCLE_TIME: '2', HOROVOD_FUSION_THRESHOLD: String(16 * 2 ** 20), HOROVOD_STALL_CHECK_DISABLE: '0' });
});

t.test('another host gets what options add and the variables of ours, not what merely is there here', async (t) => {
  t.same(request('-np', '1', 'train.ts').addedEnv, { HOROVOD_CYCLE_TIME: '77' });
  t.match(request('-np', '1', '-x', 'HOME', '-x', 'A=2', '--env-file', 'job.env', '--threads-per-process', '3', 'train.ts').addedEnv, {
    HOME: '/home/me',
    A: '2',
    C: '',
    OMP_NUM_THREADS: '3',
    HOROVOD_CYCLE_TIME: '77',
  });
});

t.test('-x beats --env-file, which beats the options', async (t) => {
  const { env } = request(
    '-np',
    '1',
    '--env-file',
    'job.env',
    '-x',
    'A=x y',
    '-x',
    'HOME',
    '-x',
    'UNSET',
    '-x',
    'E=',
    '--threads-per-process',
    '2',
    '-x',
    'OMP_NUM_THREADS=7',
    'train.ts',
  );
  t.match(env, {
    A: 'x y',
    B: ' two words # and more ',
    C: '',
    E: '',
    HOME: '/home/me',
    OMP_NUM_THREADS: '7',
    TF_NUM_INTRAOP_THREADS: '2',
    TSRUN_THREADS_PER_PROCESS: '2',
  });
  t.notOk('UNSET' in env);
});

t.test('what means nothing here, and what has no effect yet, is said once', async (t) => {
  t.same(request('-np', '1', '--gloo', '--mpi-args', '-x A', '--tcp', '--min-np', '1', '--autotune', 'train.ts').notices, [
    '--gloo, --mpi-args, --tcp have no meaning in khorovod and are ignored',
    '--min-np, --autotune have no effect in this version',
  ]);
  t.same(request('-np', '1', 'train.ts').notices, []);
});

t.test('parameter servers: how many, where, and what ranks are told to do with them', async (t) => {
  const none = request('-np', '1', 'train.ts');
  t.same([none.ps, none.psHosts, none.keepsGoing], [0, undefined, false]);
  const asked = request('-np', '2', '--ps', '2', '--ps-hosts', 's[1-2]:4', '--strategy', 'ps-ssp:3', '--keep-going', 'train.ts');
  t.match(asked, { ps: 2, psHosts: [{ host: 's1' }, { host: 's2' }], keepsGoing: true, notices: [], env: { TSRUN_STRATEGY: 'ps-ssp:3' } });
  t.same(request('-np', '1', '--ps', '0', '--ps-hosts', 's1', 'train.ts').ps, 0);
  t.match(request('--config-file', 'servers.yaml', 'train.ts'), { ps: 2, psHosts: [{ host: 's1' }], keepsGoing: true });
});

t.test('--help, --version and --check-build need nothing else', async (t) => {
  for (const kind of ['help', 'version', 'check-build']) t.equal(parse(`--${kind}`).kind, kind);
});

t.test('doctor takes a job’s options and no command; without -np every slot counts', async (t) => {
  const asked = (...words: string[]) => {
    const line = parse('doctor', ...words);
    if (line.kind !== 'doctor') throw new Error(`it is ${line.kind}`);
    return line;
  };
  t.equal(asked().request.np, 1);
  t.equal(asked().isJson, false);
  t.equal(asked('-H', 'h1:2,h2').request.np, 3);
  const { request: given, isJson } = asked('-np', '4', '--json', '-H', 'h1:2,h2:2', '--gpus-per-process', '2');
  t.same([given.np, isJson, given.pinning.gpusPerProcess], [4, true, 2]);
  t.equal(parse('doctor', '--help').kind, 'help');
  t.match(refusal('doctor', 'train.ts'), /'train\.ts' is no option of it/);
  t.match(refusal('doctor', '--nnodes', '2', '--node-rank', '0', '--rdzv-endpoint', 'h1:1', '--key-file', 'k'), /with --nnodes/);
});

t.test('bench takes its own options among tsrun’s', async (t) => {
  const { np, command, hasPrefix } = request('bench', 'allreduce', '--sizes', '1K', '-np', '3', '--tensors', '--json=out.json');
  t.equal(np, 3);
  t.notOk(hasPrefix);
  t.same(command, ['/pkg/collective.js', 'allreduce', '--sizes=1K', '--tensors', '--json=out.json']);
  t.equal(request('bench', 'allreduce').np, 2);
  t.match(refusal('bench', 'allreduce', '--sizes'), /--sizes needs a value/);
  t.match(refusal('bench'), /one of allreduce, .*barrier: which\?/);
  t.match(refusal('bench', 'allreduce', '--rounds', '2'), /--rounds is of comparisons/);
});

t.test('bench --compare is a program of its own', async (t) => {
  const line = parse('bench', 'allreduce', '--compare', 'gloo', '-np', '3', '--out=o', '--bind-to', 'none');
  t.same(line, { kind: 'compare', words: ['allreduce', '--compare=gloo', '--out=o', '--np=3', '--', '--bind-to=none'] });
  for (const words of [['-H', 'h1,h2'], ['--tls']])
    t.match(refusal('bench', 'allreduce', '--compare=gloo', ...words), /on this machine alone, in the clear/);
});

t.test('bench --calibrate is a job of its own, by the algorithm that it measures', async (t) => {
  const { np, command, env, hasPrefix } = request('bench', '--calibrate', 'costs.json', '-np', '4', '--iterations=9');
  t.same([np, hasPrefix, env.TSRUN_ALGORITHM], [4, false, 'recursive-doubling']);
  t.same(command, ['/pkg/calibrate.js', '--calibrate=costs.json', '--iterations=9']);
  t.equal(request('bench', '--calibrate=c.json').np, 2);
  t.match(refusal('bench', '--calibrate'), /--calibrate needs a value/);
  t.match(refusal('bench', '--calibrate', 'c.json', 'train.ts'), /'train\.ts' is no option of it/);
  t.match(refusal('bench', '--calibrate', 'c.json', '--algorithm', 'ring'), /--algorithm has no meaning there/);
});

t.test('one tsrun a host: all of its options or none, and no other hosts', async (t) => {
  const own = ['--nnodes', '2', '--node-rank', '1', '--rdzv-endpoint', 'h1:7000', '--key-file', 'key'];
  const { nodes, hosts } = request('-np', '3', ...own, 'train.ts');
  t.same(nodes, { nodes: 2, nodeRank: 1, host: 'h1', port: 7000, keyFile: '/home/me/key', isInPod: false });
  t.same(hosts, [{ host: 'node0' }, { host: 'node1' }]);
  t.match(request('-np', '3', ...own, '--rdzv-endpoint', '[fd00::1]:7000', 'train.ts').nodes, { host: 'fd00::1', port: 7000 });
  t.same(request('-np', '3', ...own, '--ps', '2', 'train.ts').psHosts, [{ host: 'node0' }], 'servers run where the rendezvous is served');
  t.match(refusal('-np', '3', ...own, '--ps', '1', '--ps-hosts', 'h1', 'train.ts'), /--ps-hosts has no place beside it/);
  t.match(refusal('-np', '3', ...own.slice(0, 4), 'train.ts'), /needs all of/);
  t.match(refusal('-np', '3', ...own.slice(0, 6), 'train.ts'), /needs --key-file/);
  t.match(refusal('-np', '3', ...own, '--node-rank', '2', 'train.ts'), /--node-rank is 2, but must be 0 to 1/);
  t.match(refusal('-np', '3', ...own, '--rdzv-endpoint', 'h1', 'train.ts'), /must be HOST:PORT/);
  t.match(refusal('-np', '3', ...own, '-H', 'h1', 'train.ts'), /no place beside it/);
});

t.test('inside an allocation the hosts, the slots and the way to them are Slurm’s; what is said on the line wins', async (t) => {
  const slurm = { SLURM_JOB_ID: '7', SLURM_JOB_NODELIST: 'n[1-2]', SLURM_TASKS_PER_NODE: '3,1' };
  const inside = (...words: string[]): RunRequest => {
    const line = parseCommandLine(words, { ...outside, env: { ...outside.env, ...slurm } }, '/pkg/collective.js');
    if (line.kind !== 'run') throw new Error(`it is ${line.kind}`);
    return line.request;
  };
  const all = inside('train.ts');
  t.equal(all.np, 4);
  t.same(all.hosts, [
    { host: 'n1', slots: 3 },
    { host: 'n2', slots: 1 },
  ]);
  t.equal(all.rsh!('n2')![0], 'srun');
  t.equal(inside('-np', '2', 'train.ts').np, 2);
  const named = inside('-np', '2', '-H', 'n2,far', 'train.ts');
  t.equal(named.rsh!('n2')![0], 'srun');
  t.equal(named.rsh!('far'), undefined, 'by ssh');
  t.same(inside('-np', '2', '--rsh', 'ssh -q', 'train.ts').rsh!('n2'), ['ssh', '-q', 'n2']);
  t.match(refusal('-H', 'h1:4', 'train.ts'), /how many processes/);
});
