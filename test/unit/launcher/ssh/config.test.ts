/** What ssh_config(5) says about a host, out of files that are only texts here. */
import t from 'tap';
import { type Files, resolveTarget, type SshOptions, type SshTarget } from '../../../../launcher/ssh/config';

const HOME = '/home/me';
const own = `${HOME}/.ssh/config`;
function filesOf(texts: Record<string, string>): Files {
  return {
    read: (file) => texts[file],
    list: (pattern) => {
      const expression = new RegExp(`^${pattern.replace(/[.+]/g, '\\$&').replace(/\*/g, '[^/]*')}$`);
      return Object.keys(texts)
        .filter((file) => expression.test(file))
        .sort();
    },
  };
}
const resolve = (name: string, texts: Record<string, string> | string, options: SshOptions = {}): SshTarget =>
  resolveTarget(name, options, filesOf(typeof texts === 'string' ? { [own]: texts } : texts), HOME);

t.test('without a configuration: the name, port 22, the usual keys and the usual known_hosts', async (t) => {
  t.match(resolve('me@h1', {}), {
    name: 'me@h1',
    host: 'h1',
    port: 22,
    user: 'me',
    identityFiles: ['id_ed25519', 'id_ecdsa', 'id_rsa'].map((key) => `${HOME}/.ssh/${key}`),
    namesItsIdentities: false,
    hostKeyName: 'h1',
    hostKeyPort: 22,
    knownHostsFiles: [`${HOME}/.ssh/known_hosts`],
    hostKeyPolicy: 'strict',
    jumps: [],
  });
});

t.test('every option that counts, the first value winning, with tokens', async (t) => {
  const text = `
    Host h1 h2
      HostName %h.cluster.example
      Port 2201
      User first
      IdentityFile ~/.ssh/one
      IdentityFile %d/keys/%r@%h
      HostKeyAlias alias
      UserKnownHostsFile ~/known "/etc/known hosts"
      ProxyJump gate, inner:2222
      IdentitiesOnly yes
    Host h*
      StrictHostKeyChecking accept-new
      User second
      Port 9
    Host !h1 *
      ProxyJump other`;
  t.match(resolve('h1', text), {
    host: 'h1.cluster.example',
    port: 2201,
    user: 'first',
    identityFiles: [`${HOME}/.ssh/one`, `${HOME}/keys/first@h1.cluster.example`],
    namesItsIdentities: true,
    identitiesOnly: true,
    hostKeyName: 'alias',
    knownHostsFiles: [`${HOME}/known`, '/etc/known hosts'],
    hostKeyPolicy: 'accept-new',
    jumps: ['gate', 'inner:2222'],
  });
  t.match(resolve('h3', text), { host: 'h3', port: 9, user: 'second', jumps: ['other'] });
  t.match(resolve('x', text), { jumps: ['other'], port: 22 });
});

t.test('the command line wins over the files, the user before the name over both', async (t) => {
  const text = 'Host *\n  Port 9\n  User fromfile\n  IdentityFile /k1';
  t.match(resolve('h1', text, { port: 7, user: 'me', identityFile: '~/k0' }), {
    port: 7,
    user: 'me',
    identityFiles: [`${HOME}/k0`, '/k1'],
  });
  t.match(resolve('you@h1', text, { user: 'me' }), { user: 'you' });
});

t.test("the user's file, then the system's; another one instead of both", async (t) => {
  const texts = { [own]: 'Host h1\n  Port 1', '/etc/ssh/ssh_config': 'Port 2\nUser all', '/else': 'Port 3' };
  t.match(resolve('h1', texts), { port: 1, user: 'all' });
  t.match(resolve('h2', texts), { port: 2 }, 'a section ends with its file');
  t.match(resolve('h1', texts, { configFile: '/else' }), { port: 3 });
  t.throws(() => resolve('h1', texts, { configFile: '/none' }), { exitCode: 2, message: /--ssh-config \/none/ });
});

t.test('Match by host, original host and user; Match exec never applies', async (t) => {
  const text = `
    Host short
      HostName long.example
    Match host long.example
      Port 5
    Match originalhost other
      Port 6
    Match exec "touch /tmp/never"
      Port 7
    Match all
      User last`;
  t.match(resolve('short', text), { host: 'long.example', port: 5, user: 'last' });
  t.match(resolve('other', text), { port: 6 });
  t.match(resolve('third', text), { port: 22, user: 'last' });
});

t.test('Include: globs, relative to ~/.ssh, nested, only where their section applies, and the section goes on behind them', async (t) => {
  const texts = {
    [own]: 'Include conf.d/* ~/more\nHost h1\n  Include for_h1\n  User one\nHost h2\n  User two',
    [`${HOME}/.ssh/conf.d/10-a`]: 'Host h2\n  Port 10',
    [`${HOME}/.ssh/conf.d/20-b`]: 'Host *\n  Include /deep\n  Port 20',
    [`${HOME}/more`]: 'Port 30',
    '/deep': 'Compression yes\nHost h3\n  Port 3',
    [`${HOME}/.ssh/for_h1`]: 'Host *\n  ProxyJump gate',
  };
  t.match(resolve('h1', texts), { port: 20, user: 'one', jumps: ['gate'] });
  t.match(resolve('h2', texts), { port: 10, user: 'two', jumps: [] }, 'what is included for h1 is nothing to h2');
  t.match(resolve('h3', texts), { port: 3 });
  const loop = { [own]: 'Include config' };
  t.throws(() => resolve('h1', loop), { exitCode: 3, message: /more than 16 deep/ });
});

t.test('what cannot be followed is refused, with what to do', async (t) => {
  t.throws(() => resolve('h1', 'ProxyCommand nc %h %p'), { exitCode: 3, message: /ProxyCommand.*ProxyJump, or use --rsh ssh/ });
  t.match(resolve('h1', 'ProxyCommand none'), { jumps: [] });
  t.match(resolve('h1', 'ProxyJump none'), { jumps: [] });
  t.throws(() => resolve('h1', 'Port many'), { exitCode: 3, message: /Port 'many'/ });
  t.match(resolve('h1', 'StrictHostKeyChecking no'), { hostKeyPolicy: 'off' });
});
