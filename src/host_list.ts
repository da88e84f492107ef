/**
 * Host names in the short form that users, hostfiles and Slurm write: `node[01-03,7]x,h2`. Pure; any thread, and the launcher.
 *
 * In the lowest row because both ends need it: the launcher for its host lists, ranks started by Slurm for the nodes of their step.
 */
import { UsageError } from './errors';

/** More hosts than any list written on purpose names. */
const MOST_HOSTS = 65_536;

/** Splits at commas that stand in no brackets. */
export function splitHostList(text: string): string[] {
  return text.split(/,(?![^[]*\])/).map((entry) => entry.trim());
}

/** `node[01-03,7]x` → node01x node02x node03x node7x; the width of the first number is kept. @throws UsageError a range that is malformed, empty or too long */
export function expandRanges(host: string): string[] {
  const open = host.indexOf('[');
  if (open < 0) {
    if (host.includes(']')) throw new UsageError(`host '${host}': ']' without '['`);
    return [host];
  }
  const close = host.indexOf(']', open);
  if (close < 0) throw new UsageError(`host '${host}': the range is not closed; write node[01-16]`);
  const [before, inside, after] = [host.slice(0, open), host.slice(open + 1, close), host.slice(close + 1)];
  const middles = inside.split(',').flatMap((part) => {
    const found = /^(\d+)(?:-(\d+))?$/.exec(part.trim());
    if (!found) throw new UsageError(`host '${host}': '${part}' is no number or range; write node[01-16,20]`);
    const [first, last] = [Number(found[1]), Number(found[2] ?? found[1])];
    if (last < first || last - first >= MOST_HOSTS) throw new UsageError(`host '${host}': the range ${part} is empty or too long`);
    const width = found[1]!.length;
    return Array.from({ length: last - first + 1 }, (_, i) => String(first + i).padStart(width, '0'));
  });
  const rests = expandRanges(after);
  if (middles.length * rests.length > MOST_HOSTS) throw new UsageError(`host '${host}': its ranges name more than ${MOST_HOSTS} hosts`);
  return middles.flatMap((middle) => rests.map((rest) => `${before}${middle}${rest}`));
}

export interface SlurmNodes {
  readonly nodes: readonly string[];
  /** Tasks, or what else was counted, on each. */
  readonly tasks: readonly number[];
}

/** The nodes of a list of Slurm's, each with its count. @throws UsageError one of the two variables is missing or malformed, or they do not fit each other */
export function slurmNodes(env: Readonly<Record<string, string | undefined>>, listName: string, countsName: string): SlurmNodes {
  const [list, counts] = [env[listName], env[countsName] ?? ''];
  if (!list) throw new UsageError(`This process runs under Slurm, but ${listName} is not set.`);
  let nodes: string[];
  try {
    nodes = splitHostList(list).flatMap(expandRanges);
  } catch (error) {
    throw new UsageError(`${listName} is '${list}': ${(error as Error).message}.`);
  }
  const tasks = expandCounts(counts);
  if (!tasks) throw new UsageError(`${countsName} is '${counts}', but must be counts by node as in 4(x3),2.`);
  if (tasks.length !== nodes.length)
    throw new UsageError(
      `${listName} ('${list}') names ${nodes.length} nodes, but ${countsName} ('${counts}') has counts for ${tasks.length}.`,
    );
  return { nodes, tasks };
}

/** Slurm's counts by node: `4(x3),2` → 4 4 4 2. @returns undefined: it is none */
function expandCounts(text: string): number[] | undefined {
  const counts: number[] = [];
  for (const part of text.split(',')) {
    const found = /^(\d{1,9})(?:\(x(\d{1,9})\))?$/.exec(part.trim());
    const times = Number(found?.[2] ?? 1);
    if (!found || times < 1 || counts.length + times > MOST_HOSTS) return undefined;
    for (let i = 0; i < times; i += 1) counts.push(Number(found[1]));
  }
  return counts;
}
