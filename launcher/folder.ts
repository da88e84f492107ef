/**
 * The folders for the output of ranks: their names, and how they are made. tsrun's process.
 *
 * One at a time: Node's own `recursive` never returns where the system says that a folder is missing which is there, as it does under /proc.
 */
import { mkdirSync, rmdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { isServerLabel } from './servers';

/** Of one process, in that of --output-filename (`rank.07`, `ps.0`): names sort as numbers do. @param labels of all processes */
export function folderOf(outputFolder: string, label: string, labels: readonly string[]): string {
  const kind = isServerLabel(label) ? 'ps' : 'rank';
  const numberOf = (one: string): string => one.replace(/^\D+/, '');
  const width = Math.max(...labels.filter((one) => isServerLabel(one) === isServerLabel(label)).map((one) => numberOf(one).length));
  return path.join(outputFolder, `${kind}.${numberOf(label).padStart(width, '0')}`);
}

/** With those above it. @returns those that it made, the topmost first @throws the system's error; what was made before it is removed */
export function makeFolder(folder: string): string[] {
  const missing: string[] = [];
  for (let at = path.resolve(folder); !statSync(at, { throwIfNoEntry: false }); at = path.dirname(at)) missing.unshift(at);
  const made: string[] = [];
  try {
    for (const one of missing) if (makeOne(one)) made.push(one);
    if (!statSync(folder).isDirectory()) throw new Error(`${folder} is no folder`);
  } catch (error) {
    removeFolders(made);
    throw error;
  }
  return made;
}

/** Those that are empty. @param made as makeFolder returns them */
export function removeFolders(made: readonly string[]): void {
  for (const folder of [...made].reverse()) {
    try {
      rmdirSync(folder);
    } catch {
      return; // somebody uses it already: those above it too
    }
  }
}

/** @returns false: somebody else has made it meanwhile */
function makeOne(folder: string): boolean {
  try {
    mkdirSync(folder);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  }
}
