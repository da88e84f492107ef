/**
 * libtensorflow where tfjs-node looks for it: deps/lib and deps/include in its npm package. tsrun's process.
 *
 * What is there is described by deps/khorovod.json, which is written last: an interrupted installation has none and is done again, from files that were downloaded already.
 */
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { LaunchError } from '../errors';
import { megabytes } from './progress';
import type { Runner } from './runner';
import { includesOf, librariesOfWheel, linksFor, partsOfNvidiaWheel, placeOfHeader, ROOT_HEADERS, type WheelPart } from './wheel_parts';
import { extractEntry, readEntry, type ZipEntry, zipEntries } from './zip';

const UNPACK_MS = 600_000;

export interface Placed {
  /** What was asked for, as one text: another one is installed anew. */
  readonly source: string;
  readonly bytes: number;
}

/** Written when all is in its place. */
export const markOf = (folder: string): string => path.join(folder, 'deps', 'khorovod.json');

/** undefined: nothing, or not whole. */
export function placedIn(folder: string): Placed | undefined {
  try {
    const placed = JSON.parse(readFileSync(markOf(folder), 'utf8')) as Placed;
    return existsSync(path.join(folder, 'deps', 'lib', 'libtensorflow.so')) ? placed : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param archives the first holds TensorFlow (.whl or .tar.gz), the others are NVIDIA's wheels
 * @throws LaunchError one of them lacks what is needed
 */
export async function placeLibrary(folder: string, archives: readonly string[], source: string, runner: Runner): Promise<Placed> {
  const deps = path.join(folder, 'deps');
  const made = `${deps}.new`;
  rmSync(made, { recursive: true, force: true });
  mkdirSync(path.join(made, 'lib'), { recursive: true });
  try {
    await unpack(folder, archives, made, runner);
    const placed: Placed = { source, bytes: bytesBelow(made) };
    writeFileSync(path.join(made, path.basename(markOf(folder))), `${JSON.stringify(placed)}\n`);
    rmSync(deps, { recursive: true, force: true });
    renameSync(made, deps);
    return placed;
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}

async function unpack(folder: string, [first, ...others]: readonly string[], made: string, runner: Runner): Promise<void> {
  if (first!.endsWith('.whl')) await placeWheel(first!, made, runner);
  else await runner.run(['tar', '-xzf', first!, '-C', made], { cwd: folder, timeoutMs: UNPACK_MS, what: `unpacking ${first}` });
  for (const wheel of others) await placeParts(wheel, partsOfNvidiaWheel, made, runner);
  const lib = path.join(made, 'lib');
  const links = existsSync(lib) ? linksFor(readdirSync(lib)) : undefined;
  if (!links || !existsSync(path.join(made, 'include', ROOT_HEADERS[0])))
    throw new LaunchError(
      `${first} has no C library of TensorFlow with its headers: a wheel from version 2.12 on has, and the archive of libtensorflow`,
      3,
    );
  for (const [name, target] of links) symlinkSync(target, path.join(lib, name));
}

async function placeWheel(wheel: string, deps: string, runner: Runner): Promise<void> {
  const entries = await placeParts(wheel, librariesOfWheel, deps, runner);
  const byName = new Map(entries.map((entry) => [entry.name, entry]));
  const include = 'tensorflow/include/';
  const todo: string[] = [...ROOT_HEADERS];
  const done = new Set<string>();
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    if (done.has(name)) continue;
    done.add(name);
    const place = placeOfHeader(name, (file) => byName.has(`${include}${file}`));
    if (place === undefined)
      throw new LaunchError(
        `${wheel} lacks the header ${name}: this version of TensorFlow is not known; choose another with --tensorflow`,
        3,
      );
    const text = await readEntry(wheel, byName.get(`${include}${place}`)!);
    const target = path.join(deps, 'include', name);
    mkdirSync(path.dirname(target), { recursive: true });
    writeFileSync(target, text);
    todo.push(...includesOf(text.toString('utf8')));
  }
}

/** @returns all entries of the wheel */
async function placeParts(
  wheel: string,
  partsOf: (names: readonly string[]) => WheelPart[],
  deps: string,
  runner: Runner,
): Promise<ZipEntry[]> {
  const entries = await zipEntries(wheel);
  const byName = new Map(entries.map((entry) => [entry.name, entry]));
  for (const { entry, place } of partsOf([...byName.keys()])) {
    const target = path.join(deps, place);
    mkdirSync(path.dirname(target), { recursive: true });
    const found = byName.get(entry)!;
    runner.progress.show(`unpacking ${path.basename(place)} (${megabytes(found.bytes)})`, 0, Number.NaN);
    await extractEntry(wheel, found, target);
    runner.progress.end();
  }
  return entries;
}

const bytesBelow = (folder: string): number =>
  (readdirSync(folder, { recursive: true }) as string[]).reduce((sum, name) => {
    const found = lstatSync(path.join(folder, name));
    return sum + (found.isFile() ? found.size : 0);
  }, 0);
