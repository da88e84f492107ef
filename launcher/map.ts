/** The map of a job as a table, one row a process: the ranks, then the parameter servers. Pure. */
import type { Assignment } from './hosts';
import { type ServerPlace, serverLabel } from './servers';

const quote = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

export function formatMap(assignments: readonly Assignment[], servers: readonly ServerPlace[], command: readonly string[]): string {
  const head = ['rank', 'host', 'local rank', 'cross rank', 'GPUs', 'command'];
  const text = command.map(quote).join(' ');
  const nameOf = ({ host, user }: { host: string; user?: string }): string => (user === undefined ? host : `${user}@${host}`);
  const rows = [
    ...assignments.map((one) => [String(one.rank), nameOf(one), String(one.localRank), String(one.crossRank), '-', text]),
    ...servers.map((one) => [serverLabel(one.server), nameOf(one), '-', '-', '-', text]),
  ];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  return [head, ...rows]
    .map((row) => row.map((cell, column) => (column === head.length - 1 ? cell : cell.padEnd(widths[column]!))).join('  '))
    .join('\n');
}
