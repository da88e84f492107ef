/** The hostfiles of the package do what their own comments say: each `tsrun …` line there, and the ranks of each host stated below it. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { splitCommand } from '../../../launcher/agent_command';
import { parseCommandLine } from '../../../launcher/args';
import { type Assignment, assign } from '../../../launcher/hosts';
import type { Outside } from '../../../launcher/settings';

const root = path.join(__dirname, '..', '..', '..').replace(/[/\\]dist$/, '');
const outside: Outside = { cwd: root, env: {}, readText: (file) => readFileSync(file, 'utf8'), isFile: () => true };

/** `ann@[fd00::1]  ranks 0-3`, as the comments have it. */
function ranksByHost(assignments: readonly Assignment[]): string[] {
  const byHost = new Map<string, number[]>();
  for (const { user, host, rank } of assignments) {
    const name = `${user ? `${user}@` : ''}${host.includes(':') ? `[${host}]` : host}`;
    byHost.set(name, [...(byHost.get(name) ?? []), rank]);
  }
  return [...byHost].map(([name, ranks]) => `${name} ${ranks.length > 1 ? `ranks ${ranks[0]}-${ranks.at(-1)}` : `rank ${ranks[0]}`}`);
}

/** Each command of the comments with the lines below it. */
function statements(text: string): Array<{ command: string; lines: string[] }> {
  const found: Array<{ command: string; lines: string[] }> = [];
  for (const line of text.split('\n')) {
    const command = /^# {3}tsrun (.*)$/.exec(line)?.[1];
    const stated = /^# {5}(\S.*)$/.exec(line)?.[1];
    if (command) found.push({ command, lines: [] });
    else if (stated) found.at(-1)!.lines.push(stated.replace(/\s+/g, ' '));
  }
  return found;
}

for (const name of readdirSync(path.join(root, 'hostfiles'))) {
  t.test(`hostfiles/${name} gives the ranks that its comment states`, async (t) => {
    const stated = statements(readFileSync(path.join(root, 'hostfiles', name), 'utf8'));
    t.ok(stated.length > 0, 'it states what comes out');
    for (const { command, lines } of stated) {
      t.ok(command.includes(` --hostfile hostfiles/${name} `), `${command}: is about this file`);
      const line = parseCommandLine(splitCommand(command), outside, '');
      if (line.kind !== 'run') throw new Error(`${command} runs nothing`);
      const { np, hosts, oversubscribe } = line.request;
      const found = ranksByHost(assign(np, hosts!, { oversubscribe }));
      const gap = lines.indexOf('…');
      const expected = gap < 0 ? lines : [...lines.slice(0, gap), ...found.slice(gap, gap - lines.length + 1), ...lines.slice(gap + 1)];
      t.same(found, expected, command);
    }
  });
}

t.test('the package brings them', async (t) => {
  const { files } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { files: string[] };
  t.ok(files.includes('hostfiles'));
});
