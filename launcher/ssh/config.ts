/**
 * What the user's ssh configuration says about a host: where to connect, as whom, with which keys. Pure but for the files it is given a reader for; tsrun.
 *
 * The files are parsed by ssh-config; `Include`, which that leaves alone, is put in place here, where the section it stands in applies. As in ssh_config(5) the first value of an option wins: the
 * command line's, the user's file's, the system's. Commands in the files (`Match exec`, ProxyCommand) are never run: such a section does not apply, and a ProxyCommand is an error that says so.
 */
import os from 'node:os';
import path from 'node:path';
import SSHConfig from 'ssh-config';
import { LaunchError } from '../errors';

export interface SshOptions {
  /** `-p`, `--ssh-user`, `-i`: win over every file. */
  readonly port?: number;
  readonly user?: string;
  readonly identityFile?: string;
  /** `--ssh-config`: instead of the user's and the system's. */
  readonly configFile?: string;
}

/** How files are reached; the tests give their own. */
export interface Files {
  /** undefined: there is none. */
  read(file: string): string | undefined;
  /** Files that the pattern (`*`, `?` in any part) names, sorted. */
  list(pattern: string): string[];
}

export type HostKeyPolicy = 'strict' | 'accept-new' | 'off';

/** One connection to make, and the ones that it goes through. */
export interface SshTarget {
  /** As the user wrote it. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** In the order to be tried; those that do not exist are passed over unless the user named them. */
  readonly identityFiles: readonly string[];
  readonly namesItsIdentities: boolean;
  readonly identitiesOnly: boolean;
  /** A socket's path; undefined: SSH_AUTH_SOCK's; 'none'. */
  readonly identityAgent?: string;
  /** Under which its key is looked up: an alias has no port. */
  readonly hostKeyName: string;
  readonly hostKeyPort: number;
  /** The first is the one that is added to. */
  readonly knownHostsFiles: readonly string[];
  readonly hostKeyPolicy: HostKeyPolicy;
  /** `[user@]host[:port]`, the nearest first. */
  readonly jumps: readonly string[];
}

const SYSTEM_FILE = '/etc/ssh/ssh_config';
const MOST_INCLUDES_DEEP = 16;
const defaultKeys = ['id_ed25519', 'id_ecdsa', 'id_rsa'];

/** @throws LaunchError a file that the user named is not there, a value is none, or a ProxyCommand would be needed */
export function resolveTarget(name: string, options: SshOptions, files: Files, home = os.homedir()): SshTarget {
  const { user: ownUser, host: alias, port: ownPort } = splitName(name);
  const inHome = (file: string): string => (file === '~' || file.startsWith('~/') ? path.join(home, file.slice(1)) : file);
  const found = valuesFor(alias, options, files, home);
  const one = (key: string): string | undefined => {
    const value = found[key.toLowerCase()];
    return Array.isArray(value) ? value[0] : value;
  };
  const all = (key: string): string[] => [found[key.toLowerCase()] ?? []].flat();

  const host = (one('HostName') ?? alias).replaceAll('%h', alias).replaceAll('%%', '%');
  const port = ownPort ?? options.port ?? numberOf(one('Port') ?? '22', 'Port', name);
  const user = ownUser ?? options.user ?? one('User') ?? os.userInfo().username;
  const tokens: Record<string, string> = { '%': '%', d: home, h: host, n: alias, p: String(port), r: user, u: os.userInfo().username };
  const fileOf = (file: string): string => inHome(file.replace(/%([%dhnpru])/g, (_, token: string) => tokens[token]!));

  const command = one('ProxyCommand');
  const jump = one('ProxyJump');
  if (command && command !== 'none' && jump === undefined) {
    throw new LaunchError(
      `host ${name}: its ssh configuration has a ProxyCommand, and tsrun runs no commands from there: write ProxyJump, or use --rsh ssh`,
      3,
    );
  }
  const named = [...(options.identityFile ? [options.identityFile] : []), ...all('IdentityFile')].map(fileOf);
  const strict = (one('StrictHostKeyChecking') ?? 'ask').toLowerCase();
  const knownHosts = all('UserKnownHostsFile');
  return {
    name,
    host,
    port,
    user,
    identityFiles: named.length > 0 ? named : defaultKeys.map((key) => path.join(home, '.ssh', key)),
    namesItsIdentities: named.length > 0,
    identitiesOnly: one('IdentitiesOnly')?.toLowerCase() === 'yes',
    identityAgent: one('IdentityAgent') && fileOf(one('IdentityAgent')!),
    hostKeyName: one('HostKeyAlias') ?? host,
    hostKeyPort: one('HostKeyAlias') === undefined ? port : 22,
    knownHostsFiles: (knownHosts.length > 0 ? knownHosts : ['~/.ssh/known_hosts']).map(fileOf),
    hostKeyPolicy: strict === 'accept-new' ? 'accept-new' : strict === 'no' || strict === 'off' ? 'off' : 'strict',
    jumps: jump === undefined || jump.toLowerCase() === 'none' ? [] : jump.split(',').map((hop) => hop.trim()),
  };
}

type Values = Record<string, string | string[]>;

function valuesFor(alias: string, options: SshOptions, files: Files, home: string): Values {
  const own = path.join(home, '.ssh', 'config');
  const given = options.configFile;
  const sources = given === undefined ? [own, SYSTEM_FILE] : [given];
  let text = '';
  for (const file of sources) {
    const content = files.read(file);
    if (content === undefined && file === given)
      throw new LaunchError(`--ssh-config ${given}: there is no such file, or it may not be read`);
    // Each file begins outside of every section.
    text += `Match all\n${withIncludes(content ?? '', alias, text, file === SYSTEM_FILE ? '/etc/ssh' : path.join(home, '.ssh'), files, home, 0)}\n`;
  }
  return compute(text, alias);
}

const compute = (text: string, alias: string): Values =>
  SSHConfig.parse(text).compute({ Host: alias }, { ignoreCase: true, matchExec: false }) as Values;

/** The text with the files of its Includes in their places; `before`: what has been read until then. Those in sections for other hosts are left out. */
function withIncludes(text: string, alias: string, before: string, folder: string, files: Files, home: string, depth: number): string {
  if (depth > MOST_INCLUDES_DEEP)
    throw new LaunchError(`the ssh configuration of host ${alias} includes files more than ${MOST_INCLUDES_DEEP} deep`, 3);
  let section = 'Match all';
  let result = '';
  for (const line of text.split(/\r?\n/)) {
    if (/^\s*(Host|Match)[\s=]/i.test(line)) section = line;
    const included = /^\s*Include[\s=]+(.+)$/i.exec(line)?.[1];
    if (included === undefined) {
      result += `${line}\n`;
      continue;
    }
    if (compute(`${before}${result}\n${section}\nKhorovodProbe yes\n`, alias).khorovodprobe !== 'yes') continue;
    for (const pattern of words(included)) {
      const place = pattern.startsWith('~/') ? path.join(home, pattern.slice(2)) : path.resolve(folder, pattern);
      for (const file of files.list(place)) {
        const content = files.read(file) ?? '';
        result += `Match all\n${withIncludes(content, alias, before + result, folder, files, home, depth + 1)}\n`;
      }
    }
    result += `${section}\n`;
  }
  return result;
}

/** Of a list whose words may be quoted. */
const words = (text: string): string[] => (text.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replace(/^"(.*)"$/, '$1'));

/** `[user@]host`; a host to go through may have its port as well, and an IPv6 address then stands in brackets. */
function splitName(name: string): { user?: string; host: string; port?: number } {
  const bare = name.replace(/^ssh:\/\//, '').replace(/\/$/, '');
  const at = bare.lastIndexOf('@');
  const user = at < 0 ? undefined : bare.slice(0, at);
  const place = bare.slice(at + 1);
  const found = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(place);
  if (!found) return { user, host: place.replace(/^\[(.*)\]$/, '$1') };
  return { user, host: (found[1] ?? found[2])!, port: numberOf(found[3]!, 'ProxyJump', name) };
}

function numberOf(text: string, what: string, name: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 65535)
    throw new LaunchError(`host ${name}: its ssh configuration has the ${what} '${text}'`, 3);
  return value;
}
