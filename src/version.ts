/** This package's version, as its package.json says it. Any thread. */
import { readFileSync } from 'node:fs';
import path from 'node:path';

function read(folder: string): string {
  const file = path.join(folder, 'package.json');
  try {
    const { name, version } = JSON.parse(readFileSync(file, 'utf8')) as { name?: string; version?: string };
    if (name === 'khorovod' && version) return version;
  } catch {
    // Not here: the compiled files lie one folder deeper than the sources.
  }
  return read(path.dirname(folder));
}

export const version = read(__dirname);
