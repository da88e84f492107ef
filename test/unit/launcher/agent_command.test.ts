import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { describeExit, FIT_NODES, isFitNode, remoteCommand, splitCommand } from '../../../launcher/agent_command';

t.test('which Nodes fit, as package.json says', async (t) => {
  const root = path.join(__dirname, '..', '..', '..', '..');
  t.equal(JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')).engines.node, FIT_NODES);
  const table: Array<[string, boolean]> = [
    ['v18.20.4', false],
    ['v20.18.0', false],
    ['v20.19.0', true],
    ['v21.7.0', false],
    ['v22.11.0', false],
    ['v22.12.0', true],
    ['v23.9.0', false],
    ['v24.0.0', true],
    ['v26.1.0', true],
  ];
  for (const [version, isFit] of table) t.equal(isFitNode(version), isFit, version);
});

t.test('the words of --rsh', async (t) => {
  const table: Array<[string, string[]]> = [
    ['ssh', ['ssh']],
    [' ssh  -F /a/b -o X=y ', ['ssh', '-F', '/a/b', '-o', 'X=y']],
    [`sh -c 'exec "$@"' "a b"c`, ['sh', '-c', 'exec "$@"', 'a bc']],
  ];
  for (const [text, words] of table) t.same(splitCommand(text), words, text);
  for (const text of [' ', `ssh 'open`]) t.throws(() => splitCommand(text), { message: /is no command/ }, text);
});

t.test('folders with any name, and what exit codes mean', async (t) => {
  t.match(remoteCommand(`/a/it's here`, 'agent.js', 10_000), /cd '\\''\/a\/it/);
  t.match(describeExit(91), /npm install khorovod/);
  t.equal(describeExit(5), 'ended with exit code 5');
});

t.test('a working folder that cannot be one ends the command with a code of its own', { skip: process.platform === 'win32' }, async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-wdir-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o755);
  const [file, closed] = [path.join(folder, "a 'file'"), path.join(folder, 'closed')];
  writeFileSync(file, '', { mode: 0o755 });
  mkdirSync(closed, { mode: 0 });
  // Nothing is closed to root.
  const other = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  const env = { PATH: process.env.PATH, HOME: folder, SHELL: '/bin/sh' };
  const statusOf = (wdir: string) =>
    spawnSync('/bin/sh', ['-c', remoteCommand(wdir, 'agent.js', 0)], { ...other, env, cwd: '/', timeout: 20_000 }).status;
  t.match(describeExit(statusOf(path.join(folder, 'none')) ?? 0), /found no such working folder there/);
  t.match(describeExit(statusOf(file) ?? 0), /found a file there in place of the working folder/);
  t.match(describeExit(statusOf(closed) ?? 0), /may not enter the working folder/);
});
