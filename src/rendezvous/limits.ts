/** What the store takes, held by its server and known to its clients, so that they can refuse at the call. */

export const MOST_VALUE_BYTES = 1 << 20;
export const MOST_KEY_CHARS = 256;
/** A key a rank and generation, and few others. */
export const MOST_KEYS = 1 << 18;
/** Values of all keys. */
export const MOST_STORED_BYTES = 256 << 20;
/** `get` calls of one client that wait: one for each rank of the largest job. */
export const MOST_WAITING = 1 << 14;
/** One request or reply: a value with its key, and room for what goes with them. */
export const MOST_FRAME_BYTES = 2 << 20;

/** Why the store does not take it; undefined: it does. */
export function refusalOf(key: string, value: Uint8Array): string | undefined {
  if (key === '' || key.length > MOST_KEY_CHARS) return `a key has 1 to ${MOST_KEY_CHARS} characters, not ${key.length}`;
  if (value.length > MOST_VALUE_BYTES) return `a value has at most ${MOST_VALUE_BYTES} bytes, not ${value.length}`;
  return undefined;
}
