/** Which wheel of an index page is taken. */
import t from 'tap';
import { LaunchError } from '../../../../launcher/errors';
import {
  chooseWheel,
  compareVersions,
  type IndexFile,
  pageUrl,
  parseIndexPage,
  platformFits,
  requirementsOfExtra,
  sha256OfFragment,
  versionFits,
  wheelName,
} from '../../../../launcher/install_tfjs_node/package_index';

const HASH = 'ab'.repeat(32);
const linux = { arch: 'x64', glibc: '2.36' };
const file = (name: string, rest: Partial<IndexFile> = {}): IndexFile => ({ name, url: `https://index/${name}`, isYanked: false, ...rest });

t.test('a page is found under the normalized name', async (t) => {
  t.equal(pageUrl('https://index/simple/', 'Nvidia_cublas.cu12'), 'https://index/simple/nvidia-cublas-cu12/');
});

t.test('JSON and HTML give the same files', async (t) => {
  const name = 'tensorflow_cpu-2.20.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl';
  const json = JSON.stringify({
    files: [{ filename: name, url: '../../packages/a.whl', hashes: { sha256: HASH }, yanked: 'broken' }, { url: 'x' }],
  });
  const html = `<!DOCTYPE html><a href="../../packages/a.whl#sha256=${HASH.toUpperCase()}" data-yanked="broken">${name}</a><a name="x">no link</a>`;
  const expected = [{ name, url: 'https://index/packages/a.whl', sha256: HASH, isYanked: true }];
  const page = 'https://index/simple/tensorflow-cpu/';
  t.same(parseIndexPage(json, 'application/vnd.pypi.simple.v1+json', page), expected);
  t.same(parseIndexPage(html, 'text/html; charset=utf-8', page), expected);
  t.same(parseIndexPage("<a class='c' href='b%20c.whl?x=1&amp;y=2'>b</a>", 'text/html', page), [
    { name: 'b', url: `${page}b%20c.whl?x=1&y=2`, sha256: undefined, isYanked: false },
  ]);
});

t.test('what is no page is refused', async (t) => {
  t.throws(() => parseIndexPage('<html>', 'application/json', 'https://index/'), LaunchError);
  t.throws(() => parseIndexPage('{"files": 3}', 'application/json', 'https://index/'), /names no files/);
});

t.test('the sha256 of a fragment', async (t) => {
  t.equal(sha256OfFragment(`#sha256=${HASH}`), HASH);
  t.equal(sha256OfFragment(`#egg=x&sha256=${HASH}&y`), HASH);
  for (const wrong of ['', '#md5=00', `#sha256=${HASH}0`, '#sha256=zz']) t.equal(sha256OfFragment(wrong), undefined, wrong);
});

t.test('names of wheels', async (t) => {
  t.same(wheelName('a_b-1.0-1-cp39-cp39-manylinux1_x86_64.whl'), { project: 'a_b', version: '1.0', platforms: ['manylinux1_x86_64'] });
  for (const wrong of ['a-1.0.tar.gz', 'a-1.0.whl']) t.equal(wheelName(wrong), undefined, wrong);
});

t.test('platforms', async (t) => {
  const rows: Array<[string, string, string | undefined, boolean]> = [
    ['manylinux_2_17_x86_64', 'x64', '2.17', true],
    ['manylinux_2_28_x86_64', 'x64', '2.27', false],
    ['manylinux2014_aarch64', 'arm64', '2.36', true],
    ['manylinux2014_x86_64', 'arm64', '2.36', false],
    ['manylinux2014_x86_64', 'x64', '2.16', false],
    ['manylinux2014_x86_64', 'x64', undefined, false],
    ['musllinux_1_2_x86_64', 'x64', '2.36', false],
    ['win_amd64', 'x64', '2.36', false],
    ['any', 'x64', undefined, true],
  ];
  for (const [platform, arch, glibc, expected] of rows)
    t.equal(platformFits(platform, { arch, glibc }), expected, `${platform} on ${arch} ${glibc}`);
});

t.test('versions and specifiers', async (t) => {
  t.ok(compareVersions('2.9.1', '2.20.0') < 0);
  t.equal(compareVersions('2.20', '2.20.0'), 0);
  const rows: Array<[string, string, boolean]> = [
    ['12.5.3.2', '>=12.5.3.2,<13.0', true],
    ['13.0', '>=12.5.3.2,<13.0', false],
    ['12.9', '', true],
    ['12.9rc1', '', false],
    ['2.15.0.post1', '==2.15.0.post1', true],
    ['2.15.1', '==2.15.*', true],
    ['2.5.1', '~=2.5.0', true],
    ['2.6.0', '~=2.5.0', false],
    ['2.6.0', '!=2.6', false],
    ['2.6.0', '===2.6.0', false],
  ];
  for (const [version, specifier, expected] of rows) t.equal(versionFits(version, specifier), expected, `${version} ${specifier}`);
});

t.test('the newest wheel that fits is taken, the first by name of its version', async (t) => {
  const files = [
    file('tf-2.19.0-cp311-cp311-manylinux_2_17_x86_64.whl'),
    file('tf-2.20.0-cp313-cp313-manylinux_2_17_x86_64.whl'),
    file('tf-2.20.0-cp310-cp310-manylinux_2_17_x86_64.whl'),
    file('tf-2.20.0-cp310-cp310-win_amd64.whl'),
    file('tf-2.20.0.tar.gz'),
    file('tf-2.21.0-cp310-cp310-manylinux_2_40_x86_64.whl'),
    file('tf-2.20.1-cp310-cp310-manylinux_2_17_x86_64.whl', { isYanked: true }),
  ];
  t.equal(chooseWheel(files, 'tf', '>=2.19', linux).name, 'tf-2.20.0-cp310-cp310-manylinux_2_17_x86_64.whl');
  t.equal(chooseWheel(files, 'tf', '==2.19.0', linux).version, '2.19.0');
  t.equal(chooseWheel(files, 'tf', '==2.20.1', linux).version, '2.20.1', 'a withdrawn one only when it is asked for');
  t.throws(
    () => chooseWheel(files, 'tf', '==2.9.1', linux),
    /no wheel of tf ==2\.9\.1 .*it has 2\.19\.0, 2\.20\.0, 2\.20\.1: choose with --tensorflow/,
  );
  t.throws(
    () => chooseWheel(files, 'tf', '==2.20.0', { arch: 'x64' }),
    /no GNU C library\); it has none that fits: give a file with --from FILE/,
  );
});

t.test('what an extra of a wheel asks for', async (t) => {
  const metadata = [
    'Requires-Dist: numpy>=1.26.0',
    'Requires-Dist: nvidia-cublas-cu12<13.0,>=12.5.3.2; extra == "and-cuda"',
    "Requires-Dist: nvidia-nccl-cu12 (<3.0, >=2.25.1) ; extra == 'and-cuda'",
    'Requires-Dist: other; extra == "gcs"',
  ].join('\n');
  t.same(requirementsOfExtra(metadata, 'and-cuda'), [
    { project: 'nvidia-cublas-cu12', specifier: '<13.0,>=12.5.3.2' },
    { project: 'nvidia-nccl-cu12', specifier: '<3.0,>=2.25.1' },
  ]);
});
