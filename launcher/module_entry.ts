/**
 * Loaded after tsx by a rank whose TypeScript entry file has top-level await: makes that one file a module, whatever package.json stands near it.
 * (tsx would compile it to CommonJS, which knows no top-level await.) Any other file keeps its kind.
 */
import module from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import { initialize, resolveEntry } from './module_entry_hooks';

type Hooks = { registerHooks?: (hooks: { resolve: typeof resolveEntry }) => void };

const entry = process.argv[1];
if (isMainThread && entry !== undefined) {
  const { registerHooks } = module as Hooks;
  // Node 26 warns of `register`; before 24 the hooks of `registerHooks` do not see what tsx resolves.
  if (registerHooks && Number(process.versions.node.split('.')[0]) >= 24) {
    initialize({ entry });
    registerHooks({ resolve: resolveEntry });
  } else module.register(pathToFileURL(path.join(__dirname, 'module_entry_hooks.js')), { data: { entry } });
}
