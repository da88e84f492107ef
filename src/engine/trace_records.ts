/**
 * Records of Chrome's trace format, one JSON object each, gathered until they are taken. Pure; communication thread.
 *
 * Names are this package's own words and need no escape; what users have named goes into `args`. Times are whole microseconds since the start: rounding keeps the order, and so what lies inside what.
 */

/** A track of the trace. */
export interface Place {
  readonly pid: number;
  readonly tid: number;
}

export class TraceRecords {
  private records: string[] = [];

  constructor(private readonly startUs: number) {}

  /** Those since the last time. */
  take(): string[] {
    const { records } = this;
    this.records = [];
    return records;
  }

  begin(name: string, { pid, tid }: Place, us: number, args?: object): void {
    this.records.push(`{"name":"${name}","ph":"B","pid":${pid},"tid":${tid},"ts":${this.at(us)}${argsText(args)}}`);
  }
  /** What was begun last on that track. */
  end({ pid, tid }: Place, us: number, args?: object): void {
    this.records.push(`{"ph":"E","pid":${pid},"tid":${tid},"ts":${this.at(us)}${argsText(args)}}`);
  }
  span(name: string, { pid, tid }: Place, fromUs: number, untilUs: number, args?: object): void {
    const from = this.at(fromUs);
    const dur = Math.max(0, this.at(untilUs) - from);
    this.records.push(`{"name":"${name}","ph":"X","pid":${pid},"tid":${tid},"ts":${from},"dur":${dur}${argsText(args)}}`);
  }
  /** On all tracks. */
  instant(name: string, us: number, args?: object): void {
    this.records.push(`{"name":"${name}","ph":"i","s":"g","pid":0,"tid":0,"ts":${this.at(us)}${argsText(args)}}`);
  }
  processName(pid: number, name: string, more: object = {}): void {
    this.meta('process_name', { pid, tid: 0 }, { name, ...more });
    this.meta('process_sort_index', { pid, tid: 0 }, { sort_index: pid });
  }
  threadName(place: Place, name: string): void {
    this.meta('thread_name', place, { name });
  }

  private meta(name: string, { pid, tid }: Place, args: object): void {
    this.records.push(`{"name":"${name}","ph":"M","pid":${pid},"tid":${tid},"ts":0${argsText(args)}}`);
  }
  private at(us: number): number {
    return Math.max(0, Math.round(us - this.startUs));
  }
}

const argsText = (args: object | undefined): string => (args ? `,"args":${JSON.stringify(args)}` : '');
