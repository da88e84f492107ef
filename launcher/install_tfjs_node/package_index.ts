/**
 * A Python package index (PEP 503 and PEP 691): which of its files fits this machine. Pure.
 *
 * Only C libraries and headers are taken from a wheel, so its Python tag does not matter; architecture and C library do.
 */
import { LaunchError } from '../errors';

export interface IndexFile {
  readonly name: string;
  readonly url: string;
  /** Hexadecimal; the index gives it. */
  readonly sha256?: string;
  readonly isYanked: boolean;
}

export interface Machine {
  /** As `process.arch`. */
  readonly arch: string;
  /** Version of the GNU C library, as '2.36'; undefined: there is another one. */
  readonly glibc?: string;
}

/** What to accept, the JSON form first. */
export const ACCEPT = 'application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1';
export const DEFAULT_INDEX = 'https://pypi.org/simple';

/** PEP 503's spelling of a package's name in the index's addresses. */
export const pageUrl = (indexUrl: string, name: string): string =>
  `${indexUrl.replace(/\/+$/, '')}/${name.toLowerCase().replace(/[-_.]+/g, '-')}/`;

/** @param pageUrl links are relative to it @throws LaunchError it is no page of an index */
export function parseIndexPage(text: string, contentType: string, pageUrl: string): IndexFile[] {
  if (/\bjson\b/.test(contentType)) return parseJson(text, pageUrl);
  const found: IndexFile[] = [];
  for (const [, attributes = '', inner = ''] of text.matchAll(/<a\s([^>]*)>([\s\S]*?)<\/a>/gi)) {
    const href = /\bhref\s*=\s*(?:"([^"]*)"|'([^']*)')/i.exec(attributes);
    if (!href) continue;
    const url = new URL(unescaped(href[1] ?? href[2] ?? ''), pageUrl);
    const sha256 = sha256OfFragment(url.hash);
    url.hash = '';
    found.push({ name: unescaped(inner.trim()), url: url.href, sha256, isYanked: /\bdata-yanked\b/i.test(attributes) });
  }
  return found;
}

function parseJson(text: string, pageUrl: string): IndexFile[] {
  let page: { files?: Array<{ filename?: unknown; url?: unknown; hashes?: { sha256?: unknown }; yanked?: unknown }> };
  try {
    page = JSON.parse(text) as typeof page;
  } catch {
    throw new LaunchError(`${pageUrl} is no page of a package index: its JSON cannot be read`, 3);
  }
  if (!Array.isArray(page.files)) throw new LaunchError(`${pageUrl} is no page of a package index: it names no files`, 3);
  return page.files.flatMap(({ filename, url, hashes, yanked }) => {
    if (typeof filename !== 'string' || typeof url !== 'string') return [];
    const sha256 = typeof hashes?.sha256 === 'string' ? sha256OfFragment(`#sha256=${hashes.sha256}`) : undefined;
    return [{ name: filename, url: new URL(url, pageUrl).href, sha256, isYanked: Boolean(yanked) }];
  });
}

/** `#sha256=…` of a link. */
export function sha256OfFragment(fragment: string): string | undefined {
  return /(?:^|[#&])sha256=([0-9a-f]{64})(?:&|$)/i.exec(fragment)?.[1]?.toLowerCase();
}

const unescaped = (text: string): string =>
  text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&quot;', '"').replaceAll('&#39;', "'").replaceAll('&amp;', '&');

/** The parts of a wheel's name (PEP 427), or undefined: it is none. */
export function wheelName(name: string): { project: string; version: string; platforms: string[] } | undefined {
  const parts = /^(.+)\.whl$/.exec(name)?.[1]?.split('-');
  if (!parts || (parts.length !== 5 && parts.length !== 6)) return undefined;
  return { project: parts[0]!, version: parts[1]!, platforms: parts.at(-1)!.split('.') };
}

const wheelArch: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' };
const oldManylinux: Readonly<Record<string, string>> = { manylinux1: '2.5', manylinux2010: '2.12', manylinux2014: '2.17' };

export function platformFits(platform: string, { arch, glibc }: Machine): boolean {
  if (platform === 'any') return true;
  const found = /^(manylinux\d+)(?:_(\d+)_(\d+))?_(.+)$/.exec(platform.replace(/^manylinux_/, 'manylinux0_'));
  if (!found || glibc === undefined || found[4] !== wheelArch[arch]) return false;
  const needed = found[2] === undefined ? oldManylinux[found[1]!] : `${found[2]}.${found[3]}`;
  return needed !== undefined && compareVersions(glibc, needed) >= 0;
}

/** Numerically, part by part; what is missing counts as 0. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => (version.match(/\d+/g) ?? []).map(Number));
  for (let i = 0; i < Math.max(left!.length, right!.length); i += 1) {
    const difference = (left![i] ?? 0) - (right![i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** `>=12.5.3.2,<13.0` and the like (PEP 440, numbers only). */
export function versionFits(version: string, specifier: string): boolean {
  if (!/^\d+(\.\d+)*(\.post\d+)?$/.test(version)) return false;
  return specifier
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '')
    .every((one) => {
      const [, operator = '', bound = ''] = /^(>=|<=|==|!=|~=|>|<)\s*(\d\S*)$/.exec(one) ?? [];
      const order = compareVersions(version, bound);
      const isSame = bound.endsWith('.*') ? version.startsWith(bound.slice(0, -1)) : order === 0;
      const fits: Record<string, boolean> = {
        '>=': order >= 0,
        '<=': order <= 0,
        '>': order > 0,
        '<': order < 0,
        '==': isSame,
        '!=': !isSame,
      };
      if (operator === '~=') return order >= 0 && version.startsWith(bound.replace(/\d+$/, ''));
      return fits[operator] ?? false;
    });
}

/**
 * The newest wheel that fits; of one version the first by name, so that the choice is the same every time.
 * @throws LaunchError none fits: says which versions there are
 */
export function chooseWheel(
  files: readonly IndexFile[],
  project: string,
  specifier: string,
  machine: Machine,
): IndexFile & { version: string } {
  const wheels = files.flatMap((file) => {
    const parts = wheelName(file.name);
    return parts ? [{ ...file, ...parts }] : [];
  });
  const usable = wheels.filter(({ platforms }) => platforms.some((platform) => platformFits(platform, machine)));
  const fitting = usable.filter(({ version, isYanked }) => versionFits(version, specifier) && (!isYanked || specifier.startsWith('==')));
  const [best] = fitting.sort((a, b) => compareVersions(b.version, a.version) || (a.name < b.name ? -1 : 1));
  if (best) return best;
  const versions = [...new Set(usable.map(({ version }) => version))].sort(compareVersions);
  const libc = machine.glibc === undefined ? 'no GNU C library' : `glibc ${machine.glibc}`;
  throw new LaunchError(
    `the index has no wheel of ${project} ${specifier} for this machine (${machine.arch}, ${libc}); ` +
      (versions.length > 0
        ? `it has ${versions.join(', ')}: choose with --tensorflow`
        : 'it has none that fits: give a file with --from FILE'),
    3,
  );
}

/** Packages that an extra of a wheel asks for. @param metadata METADATA of the wheel */
export function requirementsOfExtra(metadata: string, extra: string): Array<{ project: string; specifier: string }> {
  return [...metadata.matchAll(/^Requires-Dist:\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*\(?([^;)\n]*)\)?\s*;(.*)$/gm)].flatMap(
    ([, project = '', specifier = '', marker = '']) =>
      new RegExp(`extra\\s*==\\s*["']${extra}["']`).test(marker) ? [{ project, specifier: specifier.replaceAll(' ', '') }] : [],
  );
}
