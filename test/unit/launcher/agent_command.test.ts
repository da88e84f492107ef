import { readFileSync } from 'node:fs';
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
