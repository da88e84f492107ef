/** The decisions of install-tfjs-node that need no file: its options, where things come from, which names are linked. */
import t from 'tap';
import { LaunchError } from '../../../../launcher/errors';
import { missingTools } from '../../../../launcher/install_tfjs_node/binding';
import { shownUrl } from '../../../../launcher/install_tfjs_node/download';
import { configuredIndex, indexOfConfig } from '../../../../launcher/install_tfjs_node/pip_config';
import { Progress, progressText } from '../../../../launcher/install_tfjs_node/progress';
import { proxyFor } from '../../../../launcher/install_tfjs_node/proxy';
import { DEFAULT_TENSORFLOW, parseInstall } from '../../../../launcher/install_tfjs_node/request';
import { describeSource, officialUrl, projectOf } from '../../../../launcher/install_tfjs_node/sources';
import {
  includesOf,
  librariesOfWheel,
  linksFor,
  partsOfNvidiaWheel,
  placeOfHeader,
} from '../../../../launcher/install_tfjs_node/wheel_parts';

const parsed = (...words: string[]) => parseInstall(words, '/project')!;

t.test('options', async (t) => {
  t.match(parsed(), {
    project: '/project',
    isGpu: false,
    source: { kind: 'index' },
    tensorflow: DEFAULT_TENSORFLOW,
    isChosen: false,
    isForced: false,
  });
  t.match(parsed('--gpu', '--tensorflow=2.18.1', '--force'), { isGpu: true, tensorflow: '2.18.1', isChosen: true, isForced: true });
  t.match(parsed('--from', 'official'), { source: { kind: 'official' }, tensorflow: '2.9.1' });
  t.match(parsed('--from', 'a/tf.whl'), { source: { kind: 'file', file: '/project/a/tf.whl' } });
  t.match(parsed('--from', 'https://mirror/tf.tar.gz?x#y', '--sha256', 'AB'.repeat(32)), {
    source: { kind: 'url' },
    sha256: 'ab'.repeat(32),
  });
  t.equal(parseInstall(['--help'], '/'), undefined);
  const refused: Array<[string[], RegExp]> = [
    [['--gpus'], /'--gpus' is no option of it\. Say tsrun install-tfjs-node/],
    [['train.ts'], /'train\.ts' is no option/],
    [['--toString'], /is no option/],
    [['--gpu=1'], /--gpu is a switch/],
    [['--from'], /--from needs a value: official/],
    [['--from', 'tf.zip'], /--from is 'tf\.zip', but must be official, a \.whl/],
    [['--tensorflow', 'newest'], /--tensorflow is 'newest', but must be a version/],
    [['--sha256', '12'], /64 hexadecimal digits/],
    [['--index-url', 'pypi'], /URL of a package index/],
    [['--from', 'official', '--index-url', 'https://i/simple'], /no meaning beside --from official/],
  ];
  for (const [words, expected] of refused) {
    t.throws(() => parsed(...words), expected, words.join(' '));
    t.throws(() => parsed(...words), LaunchError);
  }
});

t.test('what is asked for, as a text', async (t) => {
  t.equal(describeSource(parsed('--from', 'https://me:secret@mirror/tf.whl')), 'https://mirror/tf.whl', 'no credentials');
  t.equal(describeSource(parsed('--from', 'official', '--gpu')), 'official GPU archive 2.9.1');
  t.same([projectOf(false, 'x64'), projectOf(true, 'x64'), projectOf(false, 'arm64')], ['tensorflow-cpu', 'tensorflow', 'tensorflow']);
  t.equal(shownUrl('https://a:b@host/x'), 'https://host/x');
});

t.test('the official archives', async (t) => {
  const place = 'https://storage.googleapis.com/tensorflow';
  t.equal(officialUrl('2.9.1', false, 'x64'), `${place}/libtensorflow/libtensorflow-cpu-linux-x86_64-2.9.1.tar.gz`);
  t.equal(officialUrl('2.18.0', true, 'x64'), `${place}/versions/2.18.0/libtensorflow-gpu-linux-x86_64.tar.gz`);
});

t.test('pip’s own index is used', async (t) => {
  const files: Record<string, string> = {
    '/etc/pip.conf': '[global]\nindex-url = https://company/simple\n',
    '/me/.config/pip/pip.conf': '[global]\ntimeout = 3',
  };
  const read = (file: string): string | undefined => files[file];
  t.equal(configuredIndex({ HOME: '/me', PIP_INDEX_URL: 'https://env/simple' }, read), 'https://env/simple');
  t.equal(configuredIndex({ HOME: '/me' }, read), 'https://company/simple');
  t.equal(
    configuredIndex({}, () => undefined),
    'https://pypi.org/simple',
  );
  t.equal(indexOfConfig('[global]\nindex-url: https://a\n[install]\nindex_url=https://b\n'), 'https://b');
  t.equal(indexOfConfig('# index-url = x\n[global]\nextra-index-url = https://c'), undefined);
});

t.test('proxies', async (t) => {
  const env = { HTTPS_PROXY: 'proxy:3128', http_proxy: 'http://plain:80', NO_PROXY: 'localhost, .corp.example *.lab:8443,10.0.0.1,::1' };
  const rows: Array<[string, string | undefined]> = [
    ['https://pypi.org/x', 'http://proxy:3128'],
    ['http://pypi.org/x', 'http://plain:80'],
    ['https://localhost/x', undefined],
    ['https://a.corp.example/x', undefined],
    ['https://corp.example/x', undefined],
    ['https://notcorp.example/x', 'http://proxy:3128'],
    ['https://a.lab/x', 'http://proxy:3128'],
    ['https://a.lab:8443/x', undefined],
    ['http://10.0.0.1:81/x', undefined],
    ['http://[::1]:81/x', undefined],
  ];
  for (const [url, expected] of rows) t.equal(proxyFor(url, env), expected, url);
  t.equal(proxyFor('https://a/', { ALL_PROXY: 'http://p', NO_PROXY: '*' }), undefined);
  t.equal(proxyFor('https://a/', { ALL_PROXY: 'http://p' }), 'http://p');
});

t.test('the names that the binding and tfjs-node look for', async (t) => {
  t.same(Object.fromEntries(linksFor(['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'])!), {
    'libtensorflow.so': 'libtensorflow_cc.so.2',
    'libtensorflow.so.2': 'libtensorflow_cc.so.2',
    'libtensorflow.so.2.9.1': 'libtensorflow_cc.so.2',
    'libtensorflow_framework.so': 'libtensorflow_framework.so.2',
    'libtensorflow_framework.so.2.9.1': 'libtensorflow_framework.so.2',
  });
  const official = [
    'libtensorflow.so',
    'libtensorflow.so.2',
    'libtensorflow.so.2.18.0',
    'libtensorflow_framework.so',
    'libtensorflow_framework.so.2',
    'libtensorflow_framework.so.2.18.0',
  ];
  t.same(Object.fromEntries(linksFor(official)!), {
    'libtensorflow.so.2.9.1': 'libtensorflow.so.2.18.0',
    'libtensorflow_framework.so.2.9.1': 'libtensorflow_framework.so.2.18.0',
  });
  t.equal(linksFor(['libtensorflow_framework.so.2']), undefined);
});

t.test('what is taken of wheels', async (t) => {
  t.same(librariesOfWheel(['tensorflow/libtensorflow_cc.so.2', 'tensorflow/lite/libtensorflow_cc.so.2', 'tensorflow/python/x.so']), [
    { entry: 'tensorflow/libtensorflow_cc.so.2', place: 'lib/libtensorflow_cc.so.2' },
  ]);
  const taken = ['nvidia/cudnn/lib/libcudnn.so.9', 'nvidia/cuda_nvcc/bin/ptxas', 'nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc'];
  t.same(
    partsOfNvidiaWheel([...taken, 'nvidia/cudnn/include/cudnn.h', 'nvidia/../../x.so', '/nvidia/a/lib/b.so']).map(({ place }) => place),
    taken,
    'libraries and the assembler; nothing that would leave the folder',
  );
  t.same(includesOf('#include "a.h"\n  # include "b/c.h"\n#include <d.h>\n// #include "e.h"\n'), ['a.h', 'b/c.h']);
  t.equal(
    placeOfHeader('tsl/x.h', (file) => file === 'external/local_tsl/tsl/x.h'),
    'external/local_tsl/tsl/x.h',
  );
  t.equal(
    placeOfHeader('tsl/x.h', () => false),
    undefined,
  );
});

t.test('missing tools are named with the line that mends it', async (t) => {
  t.equal(
    missingTools(() => true),
    undefined,
  );
  t.equal(
    missingTools((command) => command === 'make'),
    'building it needs python3, g++: apt-get install python3 g++',
  );
});

t.test('progress is for terminals', async (t) => {
  t.equal(progressText('tf.whl', 50e6, 200e6, 2000, 10e6), 'tf.whl: 25 % of 200 MB, 20 MB/s');
  t.equal(progressText('tf.whl', 5e5, Number.NaN, 0, 0), 'tf.whl: 0.5 MB');
  for (const isTTY of [true, false]) {
    let out = '';
    const progress = new Progress({ isTTY, write: (text) => (out += text) });
    progress.show('tf.whl', 1e6, 2e6);
    progress.end();
    t.equal(out, isTTY ? `\rtf.whl: 50 % of 2.0 MB\r${' '.repeat(22)}\r` : '', `terminal: ${isTTY}`);
  }
});
