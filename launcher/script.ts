/**
 * The command line of a rank. Pure, but for the one look into a TypeScript file whether it awaits at its top level. Agent process: node and package are those of its host.
 *
 * JavaScript runs on plain node: tsx costs start-up time and would change nothing. TypeScript runs with the tsx of our package as loader (never through tsx's
 * own command, which puts a process between us and the rank; never in NODE_OPTIONS, which every child and thread of the rank would inherit).
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

export interface Runtime {
  /** The node that runs scripts. */
  node: string;
  /** File loaded by `--require` before anything of the user's. */
  preload: string;
  /** URL of tsx's loader. */
  tsx(): string;
  /** URL of what makes an entry file a module. */
  moduleEntry: string;
  /** Does this TypeScript file have top-level await where it would be CommonJS? */
  awaitsAtTop(file: string): boolean;
}

/** What every node of a rank begins with. */
const nodeOptions = (preload: string): string[] => ['--require', preload];

/** From the command as the user gave it. */
export function rankArgv(command: readonly string[], isScript: boolean, runtime: Runtime): string[] {
  const [first = '', ...rest] = command;
  const preload = nodeOptions(runtime.preload);
  if (!isScript) {
    // `node inspect` must stay the first word; there the debugger owns the signals anyway.
    return path.basename(first) === 'node' && rest[0] !== 'inspect' ? [first, ...preload, ...rest] : [...command];
  }
  const kind = path.extname(first).toLowerCase();
  if (!['.ts', '.mts', '.cts', '.tsx'].includes(kind)) return [runtime.node, ...preload, ...command];
  const asModule = (kind === '.ts' || kind === '.tsx') && runtime.awaitsAtTop(first) ? ['--import', runtime.moduleEntry] : [];
  return [runtime.node, ...preload, '--import', runtime.tsx(), ...asModule, ...command];
}

/** Are these the words of a node that was started as above? By now the process may be another program, or a node without the preload. */
export function isPreloaded([, ...words]: readonly string[]): boolean {
  const preload = words.find((word) => word.endsWith('preload.js'));
  return preload !== undefined && nodeOptions(preload).every((option, i) => words[i] === option);
}

/** Asks the compiler that tsx brings: only a file that cannot be CommonJS for its top-level await is one. */
export function awaitsAtTop(file: string): boolean {
  let source: string;
  try {
    source = readFileSync(file, 'utf8');
  } catch {
    return false; // node will say what is wrong with it
  }
  if (!/\bawait\b/.test(source)) return false;
  const { transformSync } = require(require.resolve('esbuild', { paths: [path.dirname(require.resolve('tsx'))] })) as {
    transformSync(source: string, options: Record<string, unknown>): unknown;
  };
  try {
    transformSync(source, { loader: file.endsWith('x') ? 'tsx' : 'ts', format: 'cjs', target: 'es2022', logLevel: 'silent' });
    return false;
  } catch (error) {
    return /top-level await/i.test((error as Error).message);
  }
}

/** This host's. */
export const ownRuntime: Runtime = {
  node: process.execPath,
  preload: path.join(__dirname, 'preload.js'),
  tsx: () => pathToFileURL(require.resolve('tsx')).href,
  moduleEntry: pathToFileURL(path.join(__dirname, 'module_entry.js')).href,
  awaitsAtTop,
};
