/**
 * `tsrun install-tfjs-node`: makes @tensorflow/tfjs-node work in the project of the current folder, without its own install script. tsrun's process.
 *
 * The npm package, libtensorflow, the addon, a trial, in this order; what is done already is left alone, so that an interrupted run goes on where it was.
 */
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { LaunchError } from '../errors';
import { addonOf, makeAddon } from './binding';
import { markOf, placedIn, placeLibrary } from './library';
import { ensurePackage, packageName } from './package_folder';
import { megabytes, Progress } from './progress';
import type { InstallRequest } from './request';
import { Runner } from './runner';
import { archivesFor, describeSource } from './sources';

const TRIAL_MS = 120_000;

export interface Place {
  readonly env: Record<string, string>;
  /** The program that loads tfjs-node and computes on it. */
  readonly trial: string;
  /** Ends what is running. */
  readonly signal: AbortSignal;
}

/** @throws LaunchError */
export async function installTfjsNode(request: InstallRequest, { env, trial, signal }: Place): Promise<number> {
  if (process.platform !== 'linux')
    throw new LaunchError(`tsrun install-tfjs-node knows Linux; this is ${process.platform}: npm install ${packageName(request.isGpu)}`);
  const started = performance.now();
  const runner = new Runner(env, new Progress(process.stdout), signal);
  const cache = path.join(env.XDG_CACHE_HOME || path.join(env.HOME ?? '/tmp', '.cache'), 'khorovod');
  const name = packageName(request.isGpu);
  const { folder } = await ensurePackage(request.project, name, runner);

  const ready = await whatWorksAlready(request, folder, name, trial, runner);
  if (ready !== undefined) {
    runner.say(`${ready}: nothing to do (--force installs it anew)`);
    return 0;
  }
  const source = describeSource(request);
  const placed = placedIn(folder);
  const isPlaced = placed?.source === source && !request.isForced;
  if (isPlaced) runner.say(`TensorFlow (${source}) is in its place`);
  else {
    const from = performance.now();
    const archives = await archivesFor(request, cache, runner);
    const { bytes } = await placeLibrary(folder, archives, source, runner);
    runner.say(`TensorFlow (${source}) is in ${path.join(folder, 'deps')}: ${megabytes(bytes)} (${seconds(from)} s)`);
  }
  if (!isPlaced || !existsSync(addonOf(folder)) || addonIsOlder(folder)) {
    const from = performance.now();
    const how = await makeAddon(folder, cache, runner);
    runner.say(`the addon is ${how} (${seconds(from)} s)`);
  }
  const { text, problem } = await tryOut(request.project, name, trial, runner);
  if (problem !== undefined)
    throw new LaunchError(
      `${name} is installed, but does not work here: ${problem}\nAnother version may: tsrun install-tfjs-node --tensorflow VERSION`,
      3,
    );
  runner.say(`${text} (${seconds(started)} s in all)`);
  return 0;
}

const seconds = (from: number): string => ((performance.now() - from) / 1000).toFixed(1);

/** Says that it works, or undefined. What its own install script has made counts too, as long as nothing else was asked for. */
async function whatWorksAlready(
  request: InstallRequest,
  folder: string,
  name: string,
  trial: string,
  runner: Runner,
): Promise<string | undefined> {
  if (request.isForced || !existsSync(addonOf(folder))) return undefined;
  const placed = placedIn(folder);
  const isAsked = placed?.source === describeSource(request) || (placed === undefined && !request.isChosen);
  if (!isAsked || addonIsOlder(folder)) return undefined;
  return (await tryOut(request.project, name, trial, runner)).text;
}

/** An addon that was built against other libraries. */
function addonIsOlder(folder: string): boolean {
  const mark = statSync(markOf(folder), { throwIfNoEntry: false });
  return mark !== undefined && statSync(addonOf(folder)).mtimeMs < mark.mtimeMs;
}

/** Loads and computes in a process of its own: a library that does not fit can end it. */
async function tryOut(project: string, name: string, trial: string, runner: Runner): Promise<{ text?: string; problem?: string }> {
  const { isOk, out, err } = await runner.try([process.execPath, trial, project, name], { cwd: project, timeoutMs: TRIAL_MS });
  const answer = /^\{.*\}$/m.exec(out)?.[0];
  if (!isOk || answer === undefined) return { problem: (err.trim() || out.trim()).split('\n').slice(-12).join('\n') };
  const { tensorflow, isGpu } = JSON.parse(answer) as { tensorflow: string; isGpu: boolean };
  return {
    text: `${name} works: TensorFlow ${tensorflow}, ${isGpu ? 'on the GPU' : 'on the CPU'}${name.endsWith('-gpu') && !isGpu ? ' (no GPU was found)' : ''}`,
  };
}
