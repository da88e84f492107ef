/** Checks what callbacks are made with. Pure. */
import { UsageError } from '../../errors';

/** @throws UsageError there are none, or one is unknown */
export function checkedArgs(what: string, args: object, known: readonly string[]): void {
  if (typeof args !== 'object' || args === null)
    throw new UsageError(`${what} takes an object with ${known.join(', ')}, but was given ${args === null ? 'null' : typeof args}.`);
  const stranger = Object.keys(args).find((name) => !known.includes(name));
  if (stranger !== undefined) throw new UsageError(`${what} has no argument '${stranger}'. It has ${known.join(', ')}.`);
}

export function checkedNumber(what: string, name: string, value: unknown, isAllowed: (value: number) => boolean, text: string): void {
  if (typeof value !== 'number' || !Number.isFinite(value) || !isAllowed(value))
    throw new UsageError(`${what}: ${name} is ${text}, but was ${String(value)}.`);
}
