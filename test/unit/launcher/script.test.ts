import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { awaitsAtTop, isPreloaded, type Runtime, rankArgv } from '../../../launcher/script';

const runtime: Runtime = {
  node: '/n/node',
  preload: '/p.js',
  tsx: () => 'file:///tsx',
  moduleEntry: 'file:///entry',
  awaitsAtTop: (file) => file.includes('await'),
};

t.test('JavaScript runs on plain node, TypeScript with a loader, any other command as it is', async (t) => {
  const table: Array<[string[], boolean, string[]]> = [
    [['a.js', '-x'], true, ['/n/node', '--require', '/p.js', 'a.js', '-x']],
    [['a.mjs'], true, ['/n/node', '--require', '/p.js', 'a.mjs']],
    [['a.ts', '1'], true, ['/n/node', '--require', '/p.js', '--import', 'file:///tsx', 'a.ts', '1']],
    [['await.ts'], true, ['/n/node', '--require', '/p.js', '--import', 'file:///tsx', '--import', 'file:///entry', 'await.ts']],
    [['await.mts'], true, ['/n/node', '--require', '/p.js', '--import', 'file:///tsx', 'await.mts']],
    [['sh', '-c', 'true'], false, ['sh', '-c', 'true']],
    [['/usr/bin/node', 'a.js'], false, ['/usr/bin/node', '--require', '/p.js', 'a.js']],
    [['node', 'inspect', 'a.js'], false, ['node', 'inspect', 'a.js']],
  ];
  for (const [command, isScript, argv] of table) t.same(rankArgv(command, isScript, runtime), argv, command.join(' '));
});

t.test('a node that was started with the preload is known by its words, whatever it runs', async (t) => {
  const real = { ...runtime, preload: '/pkg/launcher/preload.js' };
  for (const [command, isScript] of [
    [['a.js'], true],
    [['a.ts', '1'], true],
    [['await.ts'], true],
    [['/usr/bin/node', '-e', '1'], false],
  ] as const) {
    t.ok(isPreloaded(rankArgv(command, isScript, real)), command.join(' '));
  }
  t.notOk(isPreloaded(['node', 'a.js']));
  t.notOk(isPreloaded(['node', 'a.js', '--require', '/pkg/launcher/preload.js']), 'a word of the script is no option of node');
  t.notOk(isPreloaded(rankArgv(['node', 'inspect', 'a.js'], false, real)));
  t.notOk(isPreloaded([]));
});

t.test('only await at the top level makes a file a module', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-script-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const awaits = (source: string) => {
    const file = path.join(folder, 'a.ts');
    writeFileSync(file, source);
    return awaitsAtTop(file);
  };
  t.ok(awaits('const x: number = await Promise.resolve(1); export {};'));
  t.ok(awaits('for await (const x of []) x;'));
  t.notOk(awaits('async function f() { await 1; } // await'));
  t.notOk(awaits('const text = "await me"; require("fs");'));
  t.notOk(awaits('const = await'), 'a syntax error is for node to tell');
  t.notOk(awaitsAtTop(path.join(folder, 'nosuch.ts')));
});
