/** The resolve hook of module_entry: the entry file is a module. Runs in Node's thread of hooks, or in the main thread. */
import { realpathSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

interface Resolved {
  url: string;
  format?: string | null;
}

let urls: string[] = [];

export function initialize({ entry }: { entry: string }): void {
  urls = [pathToFileURL(entry).href];
  try {
    urls.push(pathToFileURL(realpathSync(entry)).href);
  } catch {
    // Node will say that the file is not there.
  }
}

export function resolveEntry<R extends Resolved | Promise<Resolved>>(
  specifier: string,
  context: unknown,
  next: (specifier: string, context: unknown) => R,
): R {
  const mark = (found: Resolved): Resolved => (urls.includes(found.url.replace(/[?#].*$/, '')) ? { ...found, format: 'module' } : found);
  const found = next(specifier, context);
  return (found instanceof Promise ? found.then(mark) : mark(found)) as R;
}

export { resolveEntry as resolve };
