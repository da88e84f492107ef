/** scripts/check_links.mjs finds what leads nowhere, and nothing else. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';

const script = path.join(__dirname, '..', '..', '..', 'scripts', 'check_links.mjs');

function check(folder: string, pages: Record<string, string>): { status: number | null; lines: string[] } {
  for (const [name, text] of Object.entries(pages)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    writeFileSync(path.join(folder, name), text);
  }
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, folder], { encoding: 'utf8' });
  return { status, lines: `${stdout}${stderr}`.trim().split('\n') };
}

t.test('what is there is found, whatever form the link has', async (t) => {
  const { status, lines } = check(t.testdir({}), {
    'README.md':
      '# Hosts\n## `--rsh`, or *ssh*?\n## Hosts\n[a](docs/a.md) [b](docs/a.md#two-words_ "title") [c](#hosts-1) [d](#--rsh-or-ssh) [e](<docs/a b.md>)\n[f]: docs/\n<https://example.org/#x> ![g](docs/g.png)\n',
    'docs/a.md': '[up](../README.md#hosts)\n# Two words_\n',
    'docs/a b.md': '<a id="here"></a> [x](#here) [y](api/p.html#m) [z](mailto:ann@example.org)\n',
    'docs/g.png': '',
    'docs/api/p.html': '<a href="">this</a><a href="#m" id="m">m</a><a href="../a.md">a</a>',
  });
  t.same(lines, ['15 links in 4 pages lead somewhere']);
  t.equal(status, 0);
});

t.test('what is not there is named with file and line; code is no link', async (t) => {
  const { status, lines } = check(t.testdir({}), {
    'README.md':
      'text\n[a](none.md) `[b](none.md)`\n```\n[c](none.md)\n```\n[d](#none) [e](https://) [f](ftp://example.org) [g](../outside.md)\n',
    'docs/api/p.html': '<a href="#m&amp;n">m</a><a href="q.html">q</a>',
  });
  t.same(lines, [
    'README.md:2: (none.md) there is no none.md',
    'README.md:6: (#none) README.md has no heading #none',
    'README.md:6: (https://) it is no URL',
    'README.md:6: (ftp://example.org) ftp: is neither https, http nor mailto',
    'README.md:6: (../outside.md) it leaves the project',
    'docs/api/p.html: (#m&n) docs/api/p.html has no heading #m&n',
    'docs/api/p.html: (q.html) there is no docs/api/q.html',
    '7 of 7 links lead nowhere',
  ]);
  t.equal(status, 1);
});
