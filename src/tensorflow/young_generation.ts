/**
 * V8's young generation in a process that trains. Main thread.
 *
 * It begins at 1 MiB and doubles up to 16 while a training warms up; short-lived objects that do not fit meanwhile end among the old ones, and the process grows for hundreds of steps. Here the
 * first growth is the last. Node's option that begins at the full size would do as well, but with any option of V8's Node compiles its own library anew in each process and thread: 20 ms each.
 */
import v8 from 'node:v8';

const FULL_BY_INITIAL_SIZE = 16;

/** From here on V8 grows it to its full size at once. */
export function growYoungGenerationAtOnce(): void {
  v8.setFlagsFromString(`--semi-space-growth-factor=${FULL_BY_INITIAL_SIZE}`);
}
