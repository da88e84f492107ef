/**
 * tfjs-node's addon, lib/napi-v8/tfjs_binding.node: built from the sources in its npm package, or else the prebuilt one. tsrun's process.
 *
 * The sources use Node-API alone, whose headers are the same for all Nodes that have it: those of any version do, and the addon serves all.
 */
import { existsSync, mkdirSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { LaunchError } from '../errors';
import { whyNotStartable } from '../process';
import { lastLines, type Runner } from './runner';

const BUILD_MS = 600_000;
const HEADERS_MS = 60_000;
const NPM_MS = 300_000;
/** The newest that tfjs-node 4.22 names in its package.json; every Node that is supported here has it. */
const NODE_API = 8;

export const addonOf = (folder: string): string => path.join(folder, 'lib', `napi-v${NODE_API}`, 'tfjs_binding.node');

/** Debian's packages of what a build needs. */
const tools: ReadonlyArray<readonly [command: string, debianPackage: string]> = [
  ['python3', 'python3'],
  ['make', 'make'],
  ['g++', 'g++'],
];

/** undefined: all are there; otherwise what is missing, and the line that mends it. */
export function missingTools(isThere: (command: string) => boolean): string | undefined {
  const missing = tools.filter(([command]) => !isThere(command));
  if (missing.length === 0) return undefined;
  return `building it needs ${missing.map(([command]) => command).join(', ')}: apt-get install ${missing.map(([, name]) => name).join(' ')}`;
}

/** @returns how it was made @throws LaunchError it could be neither built nor downloaded */
export async function makeAddon(folder: string, cache: string, runner: Runner): Promise<string> {
  rmSync(addonOf(folder), { force: true });
  const isThere = (command: string): boolean => whyNotStartable(command, runner.env.PATH ?? '', folder) === undefined;
  const lack = missingTools(isThere);
  const gyp = nodeGyp(runner.env.PATH ?? '');
  const problem =
    lack ?? (gyp === undefined ? 'node-gyp was not found beside npm: npm install --global npm' : await build(folder, gyp, cache, runner));
  if (problem === undefined) return 'built from its sources';
  const prebuilt = await usePrebuilt(folder, runner);
  if (prebuilt === undefined) return 'taken prebuilt';
  // What the user can mend comes last.
  throw new LaunchError(`the prebuilt addon of tfjs-node cannot be had:\n${prebuilt}\nNor can it be built: ${problem}`, 3);
}

/** npm brings it. */
function nodeGyp(searchPath: string): string | undefined {
  const npm = searchPath
    .split(':')
    .map((place) => path.join(place, 'npm'))
    .find((file) => existsSync(file));
  try {
    return npm === undefined ? undefined : createRequire(realpathSync(npm)).resolve('node-gyp/bin/node-gyp.js');
  } catch {
    return undefined;
  }
}

/** @returns undefined: it is built; otherwise why not */
async function build(folder: string, gyp: string, cache: string, runner: Runner): Promise<string | undefined> {
  const headers = await nodeHeaders(folder, gyp, cache, runner);
  if ('problem' in headers) return headers.problem;
  const words = [
    ...[process.execPath, gyp, 'rebuild', '--module_name=tfjs_binding', `--module_path=${path.dirname(addonOf(folder))}`],
    ...[`--napi_build_version=${NODE_API}`, ...(headers.nodedir === undefined ? [] : [`--nodedir=${headers.nodedir}`])],
  ];
  const ended = await runner.try(words, { cwd: folder, timeoutMs: BUILD_MS });
  if (!ended.isOk || !existsSync(addonOf(folder))) return `building it failed:\n${lastLines(ended)}`;
  rmSync(path.join(folder, 'build'), { recursive: true, force: true });
  return undefined;
}

const isHeaderFolder = (prefix: string): boolean =>
  ['node_api.h', 'common.gypi'].every((name) => existsSync(path.join(prefix, 'include', 'node', name)));

/** nodedir undefined: node-gyp has downloaded them. */
async function nodeHeaders(
  folder: string,
  gyp: string,
  cache: string,
  runner: Runner,
): Promise<{ nodedir?: string } | { problem: string }> {
  const beside = path.dirname(path.dirname(realpathSync(process.execPath)));
  if (isHeaderFolder(beside)) return { nodedir: beside };
  // npm's packages of Node have them beside the program, too: so does a project with `node` among its packages.
  const name = `node-linux-${process.arch}`;
  const home = path.join(cache, 'node-headers');
  const kept = path.join(home, 'node_modules', name);
  if (isHeaderFolder(kept)) return { nodedir: kept };
  const downloaded = await runner.try([process.execPath, gyp, 'install'], { cwd: folder, timeoutMs: HEADERS_MS });
  if (downloaded.isOk) return {};
  mkdirSync(home, { recursive: true });
  const words = [
    'npm',
    'install',
    '--prefix',
    home,
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    `${name}@${process.versions.node.split('.')[0]}`,
  ];
  const installed = await runner.try(words, { cwd: home, timeoutMs: NPM_MS });
  if (isHeaderFolder(kept)) return { nodedir: kept };
  return {
    problem:
      `Node's headers are not in ${beside}/include/node, node-gyp could not download them, and npm could not install ${name}:\n` +
      `${lastLines(downloaded)}\n${lastLines(installed)}`,
  };
}

/** @returns undefined: it is there; otherwise why not */
async function usePrebuilt(folder: string, runner: Runner): Promise<string | undefined> {
  let program: string;
  try {
    program = createRequire(path.join(folder, 'package.json')).resolve('@mapbox/node-pre-gyp/bin/node-pre-gyp');
  } catch {
    return 'its package @mapbox/node-pre-gyp is not installed';
  }
  const ended = await runner.try([process.execPath, program, 'install'], { cwd: folder, timeoutMs: NPM_MS });
  return ended.isOk && existsSync(addonOf(folder)) ? undefined : lastLines(ended);
}
