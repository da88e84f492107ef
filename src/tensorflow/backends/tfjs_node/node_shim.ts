/**
 * What tfjs-node 4.22 takes from Node's `util` and Node 23 removed: without it every operation throws there. Main thread, before or after tfjs-node is loaded.
 */
import util from 'node:util';

/** As they were; tfjs-node calls no others (promisify and TextDecoder are still there). */
const removed: Readonly<Record<string, (value: unknown) => boolean>> = {
  isNullOrUndefined: (value) => value === null || value === undefined,
  isArray: (value) => Array.isArray(value),
};

/** Puts back what is missing and leaves what is there; a second call does nothing. @param target Node's util, as `require` gives it to tfjs-node */
export function shimNodeUtil(target: object = util): void {
  for (const [name, value] of Object.entries(removed)) {
    if (!(name in target)) Object.defineProperty(target, name, { value, configurable: true, writable: true });
  }
}
