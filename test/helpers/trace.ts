/** Reads a trace as the JSON importers of Chrome and Perfetto do: sorted by time, a stack of slices for each process and thread. What they would drop or bend is a problem. */

export interface Slice {
  /** Names of the process, and of the thread if it has one. */
  readonly process: string;
  readonly thread: string | undefined;
  readonly name: string;
  readonly from: number;
  /** Infinite: it has not ended. */
  readonly until: number;
  readonly depth: number;
  readonly args: Record<string, unknown>;
}
export interface Instant {
  readonly name: string;
  readonly at: number;
  readonly args: Record<string, unknown>;
}
export interface Trace {
  /** In the order of their beginnings, the outer first. */
  readonly slices: readonly Slice[];
  readonly instants: readonly Instant[];
  readonly processes: readonly string[];
  readonly problems: readonly string[];
}

interface TraceRecord {
  name?: string;
  ph: string;
  pid: number;
  tid: number;
  ts: number;
  dur?: number;
  s?: string;
  args?: Record<string, unknown>;
}

interface Open {
  name: string;
  from: number;
  until: number;
  depth: number;
  args: Record<string, unknown>;
}

const metadata = ['process_name', 'process_sort_index', 'thread_name'];

function problemOf(record: TraceRecord): string | undefined {
  const { name, ph, pid, tid, ts, dur, args } = record;
  if (!Number.isInteger(pid) || !Number.isInteger(tid)) return 'pid and tid are no integers';
  if (typeof ts !== 'number' || !(ts >= 0)) return 'ts is no time';
  if (!['M', 'B', 'E', 'X', 'i'].includes(ph)) return 'ph is unknown';
  if (ph !== 'E' && (typeof name !== 'string' || name === '')) return 'it has no name';
  if (ph === 'X' && !(typeof dur === 'number' && dur >= 0)) return 'dur is no duration';
  if (ph === 'i' && !['g', 'p', 't'].includes(record.s ?? '')) return 's is no scope';
  if (ph === 'M' && !metadata.includes(name!)) return 'the metadata is unknown';
  if (ph === 'M' && name !== 'process_sort_index' && typeof args?.name !== 'string') return 'the metadata names nothing';
  return undefined;
}

/** @throws SyntaxError the text is not JSON */
export function readTrace(text: string): Trace {
  const records = JSON.parse(text) as TraceRecord[];
  const problems: string[] = Array.isArray(records) ? [] : ['the trace is no array'];
  const names = new Map<string, string>();
  const stacks = new Map<string, Open[]>();
  const slices: Slice[] = [];
  const instants: Instant[] = [];
  for (const record of records) {
    const problem = problemOf(record);
    if (problem) problems.push(`${problem}: ${JSON.stringify(record)}`);
    if (record.ph === 'M' && record.name === 'process_name') names.set(`${record.pid}`, String(record.args?.name));
    if (record.ph === 'M' && record.name === 'thread_name') names.set(`${record.pid}/${record.tid}`, String(record.args?.name));
  }
  const close = ({ pid, tid }: TraceRecord, { name, from, until, depth, args }: Open): void => {
    const process = names.get(`${pid}`);
    if (process === undefined) problems.push(`process ${pid} has no name`);
    slices.push({ process: process ?? '', thread: names.get(`${pid}/${tid}`), name, from, until, depth, args });
  };
  const timed = records.filter(({ ph }) => ph !== 'M').sort((a, b) => a.ts - b.ts);
  for (const record of timed) {
    const { name = '', ph, pid, tid, ts, dur = 0, args = {} } = record;
    const key = `${pid}/${tid}`;
    const stack = stacks.get(key) ?? stacks.set(key, []).get(key)!;
    // What has a duration has ended by itself.
    while (stack.length > 0 && stack.at(-1)!.until <= ts) close(record, stack.pop()!);
    if (ph === 'i') instants.push({ name, at: ts, args });
    else if (ph === 'E') {
      const open = stack.pop();
      if (!open || open.until !== Number.POSITIVE_INFINITY) problems.push(`an end without its beginning: ${JSON.stringify(record)}`);
      else close(record, { ...open, until: ts, args: { ...open.args, ...args } });
    } else {
      const until = ph === 'X' ? ts + dur : Number.POSITIVE_INFINITY;
      const around = stack.at(-1);
      if (around && until > around.until) problems.push(`it ends after what is around it: ${JSON.stringify(record)}`);
      stack.push({ name, from: ts, until, depth: stack.length, args });
    }
  }
  for (const [key, stack] of stacks) {
    const [pid, tid] = key.split('/').map(Number) as [number, number];
    while (stack.length > 0) close({ pid, tid, ph: 'E', ts: 0 }, stack.pop()!);
  }
  slices.sort((a, b) => a.from - b.from || a.depth - b.depth);
  return { slices, instants, processes: [...names].filter(([key]) => !key.includes('/')).map(([, name]) => name), problems };
}
