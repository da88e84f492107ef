/**
 * The npm package @tensorflow/tfjs-node[-gpu] in the user's project: where it is, and how it comes there. tsrun's process.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { LaunchError } from '../errors';
import type { Runner } from './runner';

/** Where no tfjs is installed yet. */
const DEFAULT_TFJS = '4.22.0';
const NPM_MS = 600_000;

export const packageName = (isGpu: boolean): string => `@tensorflow/tfjs-node${isGpu ? '-gpu' : ''}`;

/** As a script of the project would find it. */
export function findPackage(project: string, name: string): { folder: string; version: string } | undefined {
  try {
    const file = createRequire(path.join(project, 'package.json')).resolve(`${name}/package.json`);
    return { folder: path.dirname(file), version: (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version };
  } catch {
    return undefined;
  }
}

/** @throws LaunchError the folder is no project, or npm cannot install it */
export async function ensurePackage(project: string, name: string, runner: Runner): Promise<{ folder: string; version: string }> {
  const found = findPackage(project, name);
  if (found) {
    runner.say(`${name} ${found.version} is installed`);
    return found;
  }
  if (!existsSync(path.join(project, 'package.json')))
    throw new LaunchError(`${project} is no folder of an npm project: it has no package.json. Go to yours, or make one: npm init -y`);
  const version = findPackage(project, '@tensorflow/tfjs')?.version ?? DEFAULT_TFJS;
  const words = ['npm', 'install', '--ignore-scripts', '--no-audit', '--no-fund', `${name}@${version}`];
  const { seconds } = await runner.run(words, { cwd: project, timeoutMs: NPM_MS, what: `installing ${name} ${version}` });
  const made = findPackage(project, name);
  if (!made) throw new LaunchError(`npm installed ${name}, but it is not found from ${project}: npm ls ${name} says where it is`, 3);
  runner.say(`${name} ${version} installed without its install script (${seconds} s)`);
  return made;
}
