/**
 * Which proxy an address is asked through, as HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say. Pure.
 */

type Environment = Readonly<Record<string, string>>;

const either = (env: Environment, name: string): string | undefined => env[name.toLowerCase()] || env[name] || undefined;

/** undefined: none. @returns an address; a scheme that is missing is http */
export function proxyFor(url: string, env: Environment): string | undefined {
  const { protocol, hostname, port } = new URL(url);
  const isSecure = protocol === 'https:';
  const proxy = either(env, isSecure ? 'HTTPS_PROXY' : 'HTTP_PROXY') ?? either(env, 'ALL_PROXY');
  if (proxy === undefined || isExempt(hostname, port || (isSecure ? '443' : '80'), either(env, 'NO_PROXY') ?? '')) return undefined;
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(proxy) ? proxy : `http://${proxy}`;
}

/** Entries are hosts, domains (with or without a leading dot or `*.`), each with a port or without one, or `*`. */
function isExempt(host: string, port: string, list: string): boolean {
  const name = host.replace(/^\[|\]$/g, '').toLowerCase();
  return list
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
    .some((entry) => {
      if (entry === '*') return true;
      const [, bracketed, plain = '', wanted] = /^(?:\[([^\]]+)\]|(.*?))(?::(\d+))?$/.exec(entry.toLowerCase())!;
      // An IPv6 address without brackets has colons of its own.
      const domain = bracketed ?? (plain.includes(':') ? entry.toLowerCase() : plain.replace(/^\*?\./, ''));
      const isPort = wanted === undefined || plain.includes(':') || wanted === port;
      return isPort && (name === domain || name.endsWith(`.${domain}`));
    });
}
