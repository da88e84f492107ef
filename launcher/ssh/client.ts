/**
 * One ssh connection: connects, has the host prove its key, proves the user, runs a command. The one home of ssh2; tsrun.
 *
 * Invariants: ssh2 accepts any host key unless it is told how to judge one, so it always is; nothing is asked of a person (no passwords, no passphrases: encrypted keys work through
 * the agent); whatever fails is a LaunchError that names host, address, what was tried and what to do.
 */
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import {
  type AnyAuthMethod,
  Client,
  type ClientChannel,
  type ConnectConfig,
  type IdentityCallback,
  OpenSSHAgent,
  type ParsedKey,
  utils,
} from 'ssh2';
import { resolveHosts } from '../../src/rendezvous/resolve';
import { HOST_KEY_REFUSED, LaunchError, USER_KEY_REFUSED } from '../errors';
import { pause } from '../process';
import type { SshTarget } from './config';
import { fingerprintOf, judgeHostKey, type KnownHost, keyTypeOf, knownKeyTypes, knownName, lineFor, parseKnownHosts } from './known_hosts';

export interface ConnectOptions {
  readonly timeoutMs: number;
  /** `--accept-new-host-keys`. */
  readonly acceptsNewKeys: boolean;
  /** It may be coming up just now: its name and its sshd are waited for; the time counts from when the name is known. */
  readonly awaitsHost: boolean;
  /** SSH_AUTH_SOCK. */
  readonly agentSocket?: string;
}

const AGAIN_MS = 500;
/** Behind the system's own words. */
const advice: Readonly<Record<string, string>> = {
  ENOTFOUND: ': is the name spelt right? A name that only ssh knows needs its HostName in the ssh configuration',
  ECONNREFUSED: ': is its sshd running, and on that port (-p)?',
  EHOSTUNREACH: ': is it up, and is there a route to it?',
  ENETUNREACH: ': is there a route to it?',
};
const systemKnownHosts = ['/etc/ssh/ssh_known_hosts', '/etc/ssh/ssh_known_hosts2'];

export class SshConnection {
  private constructor(
    private readonly client: Client,
    /** Where the host was reached; undefined: another one stands between. */
    readonly remoteAddress?: string,
  ) {}

  /** @param via goes through that host @throws LaunchError (exit 3) */
  static async connect(target: SshTarget, options: ConnectOptions, via?: SshConnection): Promise<SshConnection> {
    if (!options.awaitsHost || via) return SshConnection.attempt(target, options, via);
    const remedy = 'Is its pod running, and is there a headless service for it?';
    try {
      await resolveHosts({ hosts: [target.host], whom: `host ${target.name}`, remedy });
    } catch (error) {
      throw new LaunchError((error as Error).message, 3);
    }
    const deadlineMs = performance.now() + options.timeoutMs;
    for (;;) {
      try {
        return await SshConnection.attempt(target, options);
      } catch (error) {
        const isComing = (error as LaunchError).cause === 'ECONNREFUSED';
        if (!isComing || performance.now() + AGAIN_MS > deadlineMs) throw error;
        await pause(AGAIN_MS);
      }
    }
  }

  private static async attempt(target: SshTarget, options: ConnectOptions, via?: SshConnection): Promise<SshConnection> {
    const sock = await via?.tunnelTo(target);
    const judged = new HostKey(target, options);
    const { methods, tried } = methodsFor(target, options);
    const where = `host ${target.name} (ssh to ${target.user}@${target.host} port ${target.port})`;
    return new Promise((resolve, reject) => {
      const client = new Client();
      let address: string | undefined;
      const fail = (how: string, cause?: string, mend?: string): void => {
        client.removeAllListeners();
        client.on('error', () => {});
        client.destroy();
        const error = new LaunchError(`${where}: ${how}`, 3);
        error.cause = cause;
        error.mend = mend;
        reject(error);
      };
      const timer = setTimeout(
        () =>
          fail(
            `no connection within ${options.timeoutMs / 1000} s: is it up, and is its sshd reachable from here? --start-timeout sets how long is waited`,
          ),
        options.timeoutMs,
      );
      client.on('connect', () => {
        // Not in ssh2's types: the socket it connected.
        address = (client as unknown as { _sock: { remoteAddress?: string } })._sock.remoteAddress;
      });
      client.on('ready', () => {
        clearTimeout(timer);
        client.removeAllListeners('error');
        client.on('error', () => {}); // the 'close' that follows is what counts
        resolve(new SshConnection(client, address));
      });
      client.on('error', (error) => {
        clearTimeout(timer);
        if (judged.refusal) fail(judged.refusal, HOST_KEY_REFUSED, judged.mend);
        else if (error.level === 'client-authentication') {
          fail(
            `the host accepts none of the keys that were offered (${tried.join(', ') || 'there were none'}): add the public key to its ~/.ssh/authorized_keys, or name the right one with -i`,
            USER_KEY_REFUSED,
          );
        } else {
          const { code = '' } = error as NodeJS.ErrnoException;
          fail(`${error.message}${advice[code] ?? ''}`, code);
        }
      });
      client.connect({
        ...judged.config(),
        sock,
        host: target.host,
        port: target.port,
        username: target.user,
        authHandler: methods,
        readyTimeout: 0,
        // The agent's own beats tell of silence, by whatever it is reached (silence.ts).
        keepaliveInterval: 0,
      });
    });
  }

  /** Runs it by the user's shell on the host. @throws LaunchError (exit 3) the host refuses */
  run(command: string, name: string): Promise<ClientChannel> {
    return new Promise((resolve, reject) => {
      this.client.exec(command, (error, channel) => {
        if (error) reject(new LaunchError(`host ${name}: its sshd runs no command: ${error.message}`, 3));
        else resolve(channel);
      });
    });
  }

  /** @throws LaunchError (exit 3) */
  private tunnelTo({ name, host, port }: SshTarget): Promise<ClientChannel> {
    return new Promise((resolve, reject) => {
      this.client.forwardOut('127.0.0.1', 0, host, port, (error, channel) => {
        if (!error) resolve(channel);
        else
          reject(
            new LaunchError(`host ${name}: the host it lies behind (ProxyJump) does not reach ${host} port ${port}: ${error.message}`, 3),
          );
      });
    });
  }

  /** Closes at once; what it ran sees the end of its stdin. */
  destroy(): void {
    this.client.destroy();
  }
}

/** Judges the key that the host shows. */
class HostKey {
  /** Why it was refused. */
  refusal?: string;
  /** The command that makes it acceptable, once its user has looked. */
  mend?: string;
  private readonly known: readonly KnownHost[];

  constructor(
    private readonly target: SshTarget,
    private readonly options: ConnectOptions,
  ) {
    this.known = [...target.knownHostsFiles, ...systemKnownHosts].flatMap((file) =>
      parseKnownHosts(readIfThere(file)?.toString('utf8') ?? '', file),
    );
  }

  config(): Pick<ConnectConfig, 'hostVerifier' | 'algorithms'> {
    const { hostKeyName, hostKeyPort: port } = this.target;
    const types = knownKeyTypes(this.known, hostKeyName, port).flatMap((type) =>
      type === 'ssh-rsa' ? ['rsa-sha2-512', 'rsa-sha2-256'] : [type],
    );
    return {
      hostVerifier: (key: Buffer) => this.accepts(key),
      algorithms: types.length > 0 ? { serverHostKey: { prepend: types as never[], append: [], remove: [] } } : undefined,
    };
  }

  private accepts(key: Buffer): boolean {
    const { hostKeyName, hostKeyPort: port, hostKeyPolicy, knownHostsFiles } = this.target;
    const shown = `${keyTypeOf(key)} ${fingerprintOf(key)}`;
    const verdict = judgeHostKey(this.known, hostKeyName, port, key);
    switch (verdict.kind) {
      case 'known':
        return true;
      case 'revoked':
        this.refusal = `its key (${shown}) is revoked by ${verdict.entry.file}, line ${verdict.entry.line}`;
        return false;
      case 'changed':
        this.mend = `ssh-keygen -R '${knownName(hostKeyName, port)}' -f ${verdict.entry.file}`;
        this.refusal =
          `its key has CHANGED: it shows ${shown}, but ${verdict.entry.file}, line ${verdict.entry.line}, has another one. Somebody may be between you and the host; ` +
          `if it was set up anew: ${this.mend}`;
        return false;
      case 'unknown':
        if (hostKeyPolicy === 'off') return true;
        if (hostKeyPolicy === 'accept-new' || this.options.acceptsNewKeys)
          return this.remember(knownHostsFiles[0]!, lineFor(hostKeyName, port, key));
        this.refusal = `its key (${shown}) is unknown: no line of ${knownHostsFiles.join(', ')} names ${hostKeyName}. Connect once with ssh, or give --accept-new-host-keys`;
        return false;
    }
  }

  private remember(file: string, line: string): boolean {
    try {
      mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
      appendFileSync(file, line, { mode: 0o600 });
      return true;
    } catch (error) {
      this.refusal = `its new key cannot be written to ${file}: ${(error as Error).message}`;
      return false;
    }
  }
}

/** What is offered, in order, and how it is named to the user. */
function methodsFor(target: SshTarget, { agentSocket }: ConnectOptions): { methods: AnyAuthMethod[]; tried: string[] } {
  const { user: username, identityFiles, identitiesOnly, identityAgent, namesItsIdentities } = target;
  const methods: AnyAuthMethod[] = [];
  const tried: string[] = [];
  for (const file of identityFiles) {
    const content = readIfThere(file);
    if (!content) {
      if (namesItsIdentities) tried.push(`${file}: not there`);
      continue;
    }
    const key = utils.parseKey(content);
    if (key instanceof Error)
      tried.push(/encrypted/i.test(key.message) ? `${file}: encrypted, add it to ssh-agent` : `${file}: ${key.message}`);
    else {
      methods.push({ type: 'publickey', username, key: content });
      tried.push(file);
    }
  }
  const agent = identityAgent === undefined || identityAgent === 'SSH_AUTH_SOCK' ? agentSocket : identityAgent;
  if (agent && agent !== 'none') {
    methods.push({ type: 'agent', username, agent: identitiesOnly ? new NamedKeysOf(agent, identityFiles) : agent });
    tried.push(`those of the agent at ${agent}${identitiesOnly ? ' whose .pub files are named (IdentitiesOnly)' : ''}`);
  }
  return { methods, tried };
}

/** An agent of which only the keys are offered that stand in `FILE.pub` of the identity files, as IdentitiesOnly wants it: encrypted ones work that way. */
class NamedKeysOf extends OpenSSHAgent {
  private readonly named: readonly string[];

  constructor(socket: string, identityFiles: readonly string[]) {
    super(socket);
    this.named = identityFiles.flatMap((file) => readIfThere(`${file}.pub`)?.toString('utf8').trim().split(/\s+/)[1] ?? []);
  }

  override getIdentities(done: IdentityCallback<ParsedKey>): void {
    super.getIdentities((error, keys) => {
      const isNamed = (key: ParsedKey): boolean => this.named.includes(key.getPublicSSH().toString('base64'));
      if (error) done(error);
      else done(undefined, (keys as ParsedKey[] | undefined)?.filter(isNamed));
    });
  }
}

function readIfThere(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}
