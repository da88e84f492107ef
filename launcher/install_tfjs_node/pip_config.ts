/**
 * Which package index pip is told to use on this machine: people behind firewalls have set it up already. Pure: files and environment are given.
 */
import path from 'node:path';
import { DEFAULT_INDEX } from './package_index';

/** @param readText undefined: there is no such file */
export function configuredIndex(env: Readonly<Record<string, string>>, readText: (file: string) => string | undefined): string {
  if (env.PIP_INDEX_URL) return env.PIP_INDEX_URL;
  const home = env.HOME ?? '/';
  // In pip's order of precedence.
  const files = [
    ...(env.PIP_CONFIG_FILE ? [env.PIP_CONFIG_FILE] : []),
    ...(env.VIRTUAL_ENV ? [path.join(env.VIRTUAL_ENV, 'pip.conf')] : []),
    path.join(env.XDG_CONFIG_HOME || path.join(home, '.config'), 'pip', 'pip.conf'),
    path.join(home, '.pip', 'pip.conf'),
    '/etc/pip.conf',
  ];
  for (const file of files) {
    const found = indexOfConfig(readText(file) ?? '');
    if (found !== undefined) return found;
  }
  return DEFAULT_INDEX;
}

/** `index-url` of a pip.conf: that of a command wins over that of [global]. */
export function indexOfConfig(text: string): string | undefined {
  const found = new Map<string, string>();
  let section = '';
  for (const line of text.split(/\r?\n/)) {
    section = /^\s*\[([^\]]+)\]\s*$/.exec(line)?.[1] ?? section;
    const value = /^\s*index[-_]url\s*[=:]\s*(\S+)\s*$/.exec(line)?.[1];
    if (value !== undefined) found.set(section, value);
  }
  return found.get('download') ?? found.get('install') ?? found.get('global');
}
