/**
 * The command line of `tsrun install-tfjs-node`. Pure.
 */
import path from 'node:path';
import { LaunchError } from '../errors';

/** The TensorFlow whose libraries are taken when none is named: the newest that was tried on all Nodes (docs/backends.md). */
export const DEFAULT_TENSORFLOW = '2.20.0';
/** What tfjs-node 4.22 asks for itself: the newest official C archive that its own install script knows. */
export const OFFICIAL_TENSORFLOW = '2.9.1';

export type Source =
  /** A wheel of a package index. */
  | { readonly kind: 'index' }
  /** The C archive that the TensorFlow project publishes. */
  | { readonly kind: 'official' }
  | { readonly kind: 'file'; readonly file: string }
  | { readonly kind: 'url'; readonly url: string };

export interface InstallRequest {
  readonly project: string;
  readonly isGpu: boolean;
  readonly source: Source;
  readonly tensorflow: string;
  /** The user has said where from, or which. */
  readonly isChosen: boolean;
  readonly indexUrl?: string;
  readonly sha256?: string;
  readonly isForced: boolean;
}

/** Option → what its value is; undefined: a switch. */
const options: Readonly<Record<string, string | undefined>> = {
  gpu: undefined,
  force: undefined,
  from: 'official, a .whl or .tar.gz file, or a URL',
  tensorflow: `a version, such as ${DEFAULT_TENSORFLOW}`,
  'index-url': 'the URL of a package index, such as https://pypi.org/simple',
  sha256: '64 hexadecimal digits',
};
const usage =
  'tsrun install-tfjs-node [--gpu] [--from official|FILE|URL] [--tensorflow VERSION] [--index-url URL] [--sha256 HEX] [--force]';

/** @returns undefined: help was asked for @throws LaunchError (exit 2) a word that is none of its options, or a value that does not fit */
export function parseInstall(words: readonly string[], cwd: string): InstallRequest | undefined {
  const given = new Map<string, string>();
  for (let i = 0; i < words.length; i += 1) {
    const word = words[i]!;
    if (word === '--help' || word === '-h') return undefined;
    const equals = word.indexOf('=');
    const name = (equals < 0 ? word : word.slice(0, equals)).replace(/^--/, '');
    if (!word.startsWith('--') || !Object.hasOwn(options, name))
      throw new LaunchError(`tsrun install-tfjs-node: '${word}' is no option of it. Say ${usage}`);
    const expects = options[name];
    if (expects === undefined && equals >= 0)
      throw new LaunchError(`--${name} is a switch: it takes no value, but got '${word.slice(equals + 1)}'`);
    const value = expects === undefined ? 'true' : equals < 0 ? words[(i += 1)] : word.slice(equals + 1);
    if (value === undefined || value === '') throw new LaunchError(`--${name} needs a value: ${expects}`);
    given.set(name, value);
  }
  const checked = (name: string, pattern: RegExp): string | undefined => {
    const value = given.get(name);
    if (value !== undefined && !pattern.test(value)) throw new LaunchError(`--${name} is '${value}', but must be ${options[name]}`);
    return value;
  };
  const source = sourceOf(given.get('from'), cwd);
  const isGpu = given.has('gpu');
  const indexUrl = checked('index-url', /^https?:\/\/\S+$/);
  if (indexUrl !== undefined && source.kind !== 'index' && !isGpu)
    throw new LaunchError(`--index-url has no meaning beside --from ${given.get('from')}: leave one of them out`);
  return {
    project: cwd,
    isGpu,
    source,
    tensorflow:
      checked('tensorflow', /^\d+\.\d+\.\d+(\.post\d+)?$/) ?? (source.kind === 'official' ? OFFICIAL_TENSORFLOW : DEFAULT_TENSORFLOW),
    isChosen: given.has('from') || given.has('tensorflow'),
    indexUrl,
    sha256: checked('sha256', /^[0-9a-f]{64}$/i)?.toLowerCase(),
    isForced: given.has('force'),
  };
}

function sourceOf(from: string | undefined, cwd: string): Source {
  if (from === undefined) return { kind: 'index' };
  if (from === 'official') return { kind: 'official' };
  if (!/\.(whl|tar\.gz|tgz)$/.test(from.replace(/[?#].*$/, ''))) throw new LaunchError(`--from is '${from}', but must be ${options.from}`);
  return /^https?:\/\//.test(from) ? { kind: 'url', url: from } : { kind: 'file', file: path.resolve(cwd, from) };
}
