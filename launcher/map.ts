/** The map of a job as a table, one row a rank. Pure. */
import type { Assignment } from './hosts';

const quote = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

export function formatMap(assignments: readonly Assignment[], command: readonly string[]): string {
  const head = ['rank', 'host', 'local rank', 'cross rank', 'GPUs', 'command'];
  const text = command.map(quote).join(' ');
  const rows = assignments.map(({ rank, host, user, localRank, crossRank }) => [
    String(rank),
    user === undefined ? host : `${user}@${host}`,
    String(localRank),
    String(crossRank),
    '-',
    text,
  ]);
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  return [head, ...rows]
    .map((row) => row.map((cell, column) => (column === head.length - 1 ? cell : cell.padEnd(widths[column]!))).join('  '))
    .join('\n');
}
