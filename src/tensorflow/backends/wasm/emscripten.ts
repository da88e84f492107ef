/**
 * Takes back what Emscripten's start-up code in the WASM backend does to the process: its listeners throw uncaught errors and unhandled rejections again, from inside the module. Node then ends
 * with code 7 instead of 1 and prints the module's single line of 60 KB above the user's error. Main thread.
 *
 * Known by their text, as they have no names; listeners of the user's stay.
 */
const rethrows = [/^function\s*\(\w+\)\s*\{\s*if\s*\(!\(\w+ instanceof ExitStatus\)\)/, /^function\s*\(\w+\)\s*\{\s*throw \w+;?\s*\}$/];

export function removeRethrowingListeners(): void {
  for (const event of ['uncaughtException', 'unhandledRejection']) {
    for (const listener of process.listeners(event as 'uncaughtException')) {
      if (rethrows.some((pattern) => pattern.test(String(listener)))) process.removeListener(event, listener);
    }
  }
}
