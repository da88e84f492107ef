import t from 'tap';
import { describeExit } from '../../../launcher/agent_command';
import { exitCodeOf, type Finding, findingsOf, type HostFacts, type Question } from '../../../launcher/doctor/findings';
import { HOST_KEY_REFUSED, USER_KEY_REFUSED } from '../../../launcher/errors';
import { assign } from '../../../launcher/hosts';

const question: Question = { version: '1.2.3', wdir: '/job', sshOptions: ['-p', '22'], pinning: { pinsGpus: true, oversubscribe: false } };
const answer = {
  version: '1.2.3',
  hostname: 'one',
  node: 'v22.12.0',
  devices: { gpus: ['0'], cpus: [0, 1], numaNodes: [] },
  interfaces: [{ name: 'eth0', address: '10.0.0.1' }],
};
const examined = {
  clockAheadMs: 20,
  uncertainMs: 10,
  tmpFreeBytes: 1e9,
  tmpProblem: '',
  wdirFreeBytes: 1e9,
  wdirProblem: '',
  triedPorts: 0,
  freePorts: 0,
  relayProblem: '',
  backends: [
    { name: 'tfjs-node-gpu', installed: true, device: 'GPU 0 (CUDA)' },
    { name: 'tfjs-node', installed: false, problem: 'it is not installed', install: 'npx tsrun install-tfjs-node' },
    { name: 'cpu', installed: true, device: 'CPU (JavaScript)' },
  ],
};
const ranks = assign(2, [{ host: 'h1', slots: 2 }], { oversubscribe: false });
const well: HostFacts = { host: 'h1', isHere: false, sshName: 'ann@h1', ranks, servers: 0, answer, examined, address: '10.0.0.1' };
const other: HostFacts = { ...well, host: 'h2', sshName: 'h2', answer: { ...answer, hostname: 'two' } };
const refused = (cause: string, mend?: string): HostFacts => ({
  ...well,
  answer: undefined,
  examined: undefined,
  refusal: { message: 'host h1: no', cause, mend },
});
const gone = (code: number): HostFacts => ({ ...well, answer: undefined, examined: undefined, gone: `${describeExit(code)}; it said: x` });
const seen = (part: Partial<typeof examined>): HostFacts => ({ ...well, examined: { ...examined, ...part } });
const range = { portRange: { first: 5000, last: 5003 } };
const wide = { portRange: { first: 5000, last: 5999 } };

t.test('a host that is well', async (t) => {
  const found = findingsOf([well, other], question);
  t.same(
    found.filter(({ level }) => level !== 'ok'),
    [],
  );
  t.same(
    found.filter(({ host }) => host === 'h1').map(({ check }) => check),
    ['ssh', 'node', 'package', 'interfaces', 'network', 'devices', 'working folder', 'backends', 'clock', 'disk'],
  );
  t.equal(exitCodeOf(found), 0);
});

t.test('what is wrong, how bad it is, what mends it', async (t) => {
  type Row = [
    what: string,
    facts: HostFacts,
    check: string,
    level: string,
    exitCode: number,
    mend: RegExp | undefined,
    more?: Partial<Question>,
  ];
  const table: Row[] = [
    ['a refused key', refused(USER_KEY_REFUSED), 'key', 'error', 3, /^ssh-copy-id -p 22 ann@h1$/],
    ['a changed host key', refused(HOST_KEY_REFUSED, 'ssh-keygen -R h1'), 'host key', 'error', 3, /^ssh-keygen -R h1$/],
    ['an unknown host key', refused(HOST_KEY_REFUSED), 'host key', 'error', 3, /^ssh -p 22 ann@h1$/],
    ['an unknown name', refused('ENOTFOUND'), 'name', 'error', 3, /HostName/],
    ['no sshd', refused('ECONNREFUSED'), 'ssh', 'error', 3, /^ssh -v -p 22 ann@h1 true$/],
    ['no folder', gone(90), 'working folder', 'error', 3, /^ssh -p 22 ann@h1 'mkdir -p .*\/job/],
    ['a file for a folder', gone(93), 'working folder', 'error', 3, /^name a folder with --wdir$/],
    ['a folder that may not be entered', gone(94), 'working folder', 'error', 3, /^ssh -p 22 ann@h1 'chmod u\+rx .*\/job/],
    ['no package', gone(91), 'package', 'error', 3, /npm install khorovod@1\.2\.3/],
    ['an old Node', gone(92), 'node', 'error', 3, /install Node/],
    ['no node', gone(127), 'node', 'error', 3, /install Node/],
    ['another end of the agent', gone(1), 'agent', 'error', 3, undefined],
    ['an agent that ends later', { ...well, gone: 'was ended by SIGKILL' }, 'agent', 'error', 3, undefined],
    [
      'an older version',
      { ...well, answer: { ...answer, version: '1.2.2' }, examined: undefined },
      'package',
      'error',
      3,
      /khorovod@1\.2\.3/,
    ],
    ['this machine has an old Node', { ...well, answer: { ...answer, node: 'v20.18.0' } }, 'node', 'error', 3, /install Node/],
    ['no such interface', { ...well, interfaceProblem: 'none' }, 'interfaces', 'error', 3, /--network-interface/],
    ['no common network', { ...well, networkProblem: 'none' }, 'network', 'error', 3, /all TCP ports/],
    ['a range that a firewall blocks', { ...well, networkProblem: 'none' }, 'network', 'error', 3, /TCP ports 5000-5003/, range],
    ['a range that is taken', seen({ triedPorts: 4, freePorts: 1 }), 'ports', 'error', 3, /--port-range/, range],
    ['as many ports as ranks', seen({ triedPorts: 4, freePorts: 2 }), 'ports', 'ok', 0, undefined, range],
    ['most of a wide range is not tried', seen({ triedPorts: 64, freePorts: 1 }), 'ports', 'warning', 0, /--port-range/, wide],
    ['none of a wide range is free', seen({ triedPorts: 64, freePorts: 0 }), 'ports', 'error', 3, /--port-range/, wide],
    [
      'no port for the store',
      seen({ triedPorts: 4, freePorts: 4, relayProblem: 'taken' }),
      'ports',
      'error',
      3,
      /--port-range.*ss -ltn/,
      range,
    ],
    ['a clock ahead by 5 minutes', seen({ clockAheadMs: 300_000 }), 'clock', 'warning', 0, /set-ntp/],
    ['a clock behind', seen({ clockAheadMs: -300_000 }), 'clock', 'warning', 0, /set-ntp/],
    ['a clock that may be right', seen({ clockAheadMs: 5500, uncertainMs: 600 }), 'clock', 'ok', 0, undefined],
    ['a nearly full disk', seen({ tmpFreeBytes: 99e6 }), 'disk', 'warning', 0, /df -h/],
    ['a nearly full working folder', seen({ wdirFreeBytes: 0 }), 'disk', 'warning', 0, /df -h/],
    ['a file system that does not tell', seen({ wdirFreeBytes: -1 }), 'disk', 'ok', 0, undefined],
    ['a full disk', seen({ tmpFreeBytes: 0, tmpProblem: 'ENOSPC' }), 'disk', 'error', 3, /df -h/],
    ['a folder nobody may enter', seen({ wdirProblem: 'EACCES: no' }), 'working folder', 'error', 3, /chmod u\+rx/],
    ['a file there', seen({ wdirProblem: 'ENOTDIR: no' }), 'working folder', 'error', 3, /^name a folder with --wdir$/],
    ['nothing there', seen({ wdirProblem: 'ENOENT: no' }), 'working folder', 'error', 3, /mkdir/],
    ['no TensorFlow.js', seen({ backends: [] }), 'backends', 'warning', 0, /npm install @tensorflow\/tfjs /],
    [
      'a backend that is installed in vain',
      seen({
        backends: [
          { name: 'tfjs-node-gpu', installed: true, device: 'GPU 0 (CUDA)' },
          { name: 'tfjs-node', installed: true, problem: 'no binding (npx tsrun install-tfjs-node --force installs it anew)', install: '' },
          { name: 'cpu', installed: true, device: 'CPU (JavaScript)' },
        ],
      }),
      'backends',
      'warning',
      0,
      undefined,
    ],
    [
      'GPUs that no backend uses',
      seen({ backends: [{ name: 'cpu', installed: true, device: 'CPU (JavaScript)' }] }),
      'backends',
      'warning',
      0,
      /npx tsrun install-tfjs-node --gpu'$/,
    ],
    ['too few GPUs', well, 'devices', 'error', 4, /nvidia-smi/, { pinning: { ...question.pinning, gpusPerProcess: 1 } }],
    [
      'no processors to bind to',
      { ...well, answer: { ...answer, devices: { gpus: [], cpus: [], numaNodes: [] } } },
      'devices',
      'error',
      4,
      /./,
      { pinning: { ...question.pinning, bindTo: 'core' } },
    ],
  ];
  for (const [what, facts, check, level, exitCode, mend, more] of table) {
    const found = findingsOf([facts, { ...other, ranks: [], examined: undefined }], { ...question, ...more }).filter(
      ({ host }) => host === 'h1',
    );
    const finding = found.filter((one) => one.check === check).at(-1);
    t.equal(finding?.level, level, what);
    t.equal(exitCodeOf(found), exitCode, what);
    if (mend) t.match(finding?.mend, mend, what);
    else t.equal(finding?.mend, undefined, what);
  }
});

t.test('a host that had no other to try its network with says nothing of it', async (t) => {
  const found = findingsOf([{ ...well, address: undefined }, refused('ECONNREFUSED')], question);
  t.notOk(found.some(({ check }) => check === 'network'));
  t.equal(found.filter(({ level }) => level !== 'ok').length, 1);
});

t.test('one host has its store beside its ranks', async (t) => {
  const [one] = findingsOf([seen({ triedPorts: 4, freePorts: 2 })], { ...question, ...range }).filter(({ check }) => check === 'ports');
  t.equal(one?.level, 'error');
  t.match(one?.text, /2 of the 4 ports from 5000 on are free, 3 are needed/);
});

t.test('two names of one machine share its ports', async (t) => {
  // The one asked second sees a port that is held for the first.
  const first = seen({ triedPorts: 4, freePorts: 4 });
  const second = { ...seen({ triedPorts: 4, freePorts: 3 }), host: 'h2' };
  const ports = (hosts: HostFacts[]) => findingsOf(hosts, { ...question, ...range }).filter(({ check }) => check === 'ports');
  t.match(ports([first, second]), [
    { level: 'ok', text: /^4 of the 4 ports .* 4 are needed/ },
    { level: 'ok', text: /^4 of the 4 ports .* 4 are needed/ },
  ]);
  const more = { ...second, ranks: [...ranks, ...ranks] };
  t.match(ports([first, more]), [{ level: 'error', text: /6 are needed/ }, { level: 'error' }]);
  t.match(ports([first, { ...second, servers: 1 }]), [{ level: 'error', text: /5 are needed/ }, { level: 'error' }], 'servers listen too');
  t.match(
    ports([first, { ...more, answer: { ...answer, hostname: 'two' } }]),
    [{ level: 'ok' }, { level: 'error' }],
    'two machines do not',
  );
});

t.test('on this machine no command goes by ssh', async (t) => {
  const found = findingsOf([{ ...seen({ wdirProblem: 'ENOENT' }), isHere: true }], question);
  t.equal(found.find(({ check }) => check === 'working folder')?.mend, "mkdir -p '/job'");
  t.notOk(found.some(({ check }) => check === 'ssh'));
});

t.test('by another program than ssh no line speaks of ssh', async (t) => {
  const rsh = (host: string) => ['kubectl', 'exec', '-i', host, '--', 'sh', '-c'];
  const bad = [
    seen({ wdirProblem: 'ENOENT: no', backends: [], clockAheadMs: 300_000, tmpFreeBytes: 0 }),
    gone(91),
    gone(1),
    gone(127),
    well,
  ];
  for (const facts of bad) {
    const found = findingsOf([{ ...facts, sshName: 'pod' }], { ...question, rsh }).filter(({ level }) => level !== 'ok');
    for (const { check, text, mend } of found) t.notMatch(`${check} ${text} ${mend}`, /ssh/);
  }
  const [well1] = findingsOf([well], { ...question, rsh });
  t.match(well1, { check: 'rsh', level: 'ok', text: 'reached' });
  const [failed] = findingsOf([{ ...gone(1), sshName: 'pod' }], { ...question, rsh });
  t.match(failed, {
    check: 'rsh',
    text: /^kubectl, which is to start the agent, ended with exit code 1/,
    mend: "kubectl exec -i pod -- sh -c 'true'",
  });
  const [folder] = findingsOf([{ ...gone(90), sshName: 'my pod' }], { ...question, rsh });
  t.equal(folder?.mend, `kubectl exec -i 'my pod' -- sh -c 'mkdir -p '\\''/job'\\'''`);
});

t.test('the exit code is what a job meets first', async (t) => {
  const finding = (check: Finding['check'], exitCode?: 2 | 3 | 4): Finding => ({
    host: '',
    check,
    level: exitCode ? 'error' : 'ok',
    text: '',
    exitCode,
  });
  const table: Array<[Finding[], number]> = [
    [[], 0],
    [[finding('slots'), finding('clock')], 0],
    [[finding('devices', 4)], 4],
    [[finding('devices', 4), finding('key', 3)], 3],
    [[finding('slots', 4), finding('key', 3)], 4],
    [[finding('output', 2), finding('key', 3)], 2],
    [[finding('slots', 4), finding('output', 2)], 4],
  ];
  for (const [findings, code] of table) t.equal(exitCodeOf(findings), code);
});
