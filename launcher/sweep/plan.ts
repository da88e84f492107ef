/**
 * Which jobs a sweep is made of, and in which order; which of them are still to be done; whether a folder holds the same sweep. Pure.
 *
 * A cell is one combination of worker count, strategy and values of options; a run is one job of a cell. Runs are interleaved: every round runs each cell once, and every second round goes
 * backwards, so that whatever drifts (heat, other users of the machine) meets all cells alike.
 */
export interface Vary {
  /** The script's option, without dashes. */
  readonly name: string;
  readonly values: readonly string[];
}

/** What makes a sweep this sweep: two that differ in any of it do not share a folder. */
export interface Asked {
  readonly workers: readonly number[];
  readonly strategies: readonly string[];
  /** On the command line; otherwise each job chooses as it does without a sweep. */
  readonly isStrategyGiven: boolean;
  readonly vary: readonly Vary[];
  readonly repeats: number;
  /** Of each job, as words of tsrun's. */
  readonly options: readonly string[];
  /** Script and its arguments, or any command. */
  readonly command: readonly string[];
  readonly isAnyCommand: boolean;
  /** Of the script's text; '': a command. */
  readonly scriptSha256: string;
  /** `name:slots`; empty: this machine. */
  readonly hosts: readonly string[];
  /** The configuration of the ranks, by variable. */
  readonly knobs: Readonly<Record<string, unknown>>;
}

export interface Cell {
  readonly workers: number;
  readonly strategy: string;
  /** By option. */
  readonly values: Readonly<Record<string, string>>;
}

export interface Planned {
  readonly cell: Cell;
  /** From 1. */
  readonly repeat: number;
}

export interface Done extends Planned {
  readonly isFailed: boolean;
}

export function cellsOf({ workers, strategies, vary }: Pick<Asked, 'workers' | 'strategies' | 'vary'>): Cell[] {
  const combinations = vary.reduce<Array<Record<string, string>>>(
    (all, { name, values }) => all.flatMap((one) => values.map((value) => ({ ...one, [name]: value }))),
    [{}],
  );
  return combinations.flatMap((values) => strategies.flatMap((strategy) => workers.map((count) => ({ workers: count, strategy, values }))));
}

export function planOf(asked: Pick<Asked, 'workers' | 'strategies' | 'vary' | 'repeats'>): Planned[] {
  const cells = cellsOf(asked);
  return Array.from({ length: asked.repeats }, (_, round) =>
    (round % 2 === 0 ? cells : [...cells].reverse()).map((cell) => ({ cell, repeat: round + 1 })),
  ).flat();
}

/** `np2 ring batch-size=16`; the same for the same cell. */
export function nameOf({ workers, strategy, values }: Cell): string {
  return [`np${workers}`, strategy, ...Object.entries(values).map(([name, value]) => `${name}=${value}`)].join(' ');
}

/** For a file: what is no plain character is an underscore, and a number keeps names apart. */
export function fileNameOf({ cell, repeat }: Planned, asked: Asked): string {
  const index = cellsOf(asked).findIndex((one) => nameOf(one) === nameOf(cell));
  return `${String(index + 1).padStart(3, '0')}_${nameOf(cell)
    .replace(/[^\w.=-]/g, '_')
    .slice(0, 80)}_${repeat}.log`;
}

/** What is left to do, in the plan's order. @param again failed runs are to be done once more */
export function openRuns(plan: readonly Planned[], done: readonly Done[], again: boolean): Planned[] {
  const keyOf = ({ cell, repeat }: Planned): string => `${nameOf(cell)} ${repeat}`;
  const closed = new Set(done.filter(({ isFailed }) => !(again && isFailed)).map(keyOf));
  return plan.filter((run) => !closed.has(keyOf(run)));
}

/** The words behind `tsrun` that run the cell alone. */
export function jobWords({ options, command, isAnyCommand, isStrategyGiven }: Asked, { workers, strategy, values }: Cell): string[] {
  const varied = Object.entries(values).flatMap(([name, value]) => [name.length === 1 ? `-${name}` : `--${name}`, value]);
  return [
    ...options,
    `--np=${workers}`,
    ...(isStrategyGiven ? [`--strategy=${strategy}`] : []),
    ...(isAnyCommand ? ['--'] : []),
    ...command,
    ...varied,
  ];
}

const names: Readonly<Record<keyof Asked, string>> = {
  workers: '-np',
  strategies: '--strategy',
  isStrategyGiven: '--strategy given',
  vary: '--vary',
  repeats: '--repeats',
  options: 'options of the jobs',
  command: 'the command',
  isAnyCommand: "the command behind '--'",
  scriptSha256: "the script's text (SHA-256)",
  hosts: 'the hosts',
  knobs: 'the configuration',
};

/** Where two sweeps differ: `-np was 1,2, now is 1,2,4`. Empty: they are the same. */
export function differences(was: Asked, now: Asked): string[] {
  return (Object.keys(names) as Array<keyof Asked>).flatMap((key) => {
    const [before, after] = key === 'knobs' ? changed(was.knobs, now.knobs) : [was[key], now[key]];
    return JSON.stringify(before) === JSON.stringify(after) ? [] : [`${names[key]} was ${shown(before)}, now is ${shown(after)}`];
  });
}

/** Only the entries that differ. */
function changed(was: Readonly<Record<string, unknown>> = {}, now: Readonly<Record<string, unknown>>): [unknown, unknown] {
  const differing = [...new Set([...Object.keys(was), ...Object.keys(now)])].filter(
    (key) => JSON.stringify(was[key]) !== JSON.stringify(now[key]),
  );
  const part = (of: Readonly<Record<string, unknown>>) => differing.map((key) => `${key}=${String(of[key] ?? '')}`);
  return [part(was), part(now)];
}

function shown(value: unknown): string {
  if (!Array.isArray(value)) return typeof value === 'string' ? value.slice(0, 12) || 'none' : String(value);
  const isVary = (one: unknown): one is Vary => typeof one === 'object' && one !== null && 'values' in one;
  const words = value.map((one) => (isVary(one) ? `${one.name}=${one.values.join(',')}` : String(one)));
  return words.length === 0
    ? 'none'
    : words.join(words.every((word) => /^[\w.:-]+$/.test(word)) && typeof value[0] === 'number' ? ',' : ' ');
}
