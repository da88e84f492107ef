/** known_hosts as sshd(8) describes it, and as ssh-keygen writes it where there is one. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { fingerprintOf, judgeHostKey, keyTypeOf, knownKeyTypes, lineFor, parseKnownHosts } from '../../../../launcher/ssh/known_hosts';

/** In SSH's wire format: strings with their lengths before them. */
const keyOf = (type: string, n: number): Buffer =>
  Buffer.concat([type, `${'k'.repeat(20)}${n}`].map((text) => Buffer.concat([Buffer.from([0, 0, 0, text.length]), Buffer.from(text)])));
const [ed1, ed2] = [1, 2].map((n) => keyOf('ssh-ed25519', n)) as [Buffer, Buffer];
const rsa = keyOf('ssh-rsa', 3);
const line = (names: string, key: Buffer): string => `${names} ${keyTypeOf(key)} ${key.toString('base64')}`;
const judge = (text: string, host: string, key: Buffer, port = 22) => judgeHostKey(parseKnownHosts(text, 'f'), host, port, key).kind;

t.test('names, patterns, exclusions, ports', async (t) => {
  const text = [
    line('h1,10.0.0.1', ed1),
    line('[h1]:2222', ed2),
    line('*.example.com,!bad.example.com', ed1),
    line('[n?.x]:22*', ed2),
  ].join('\n');
  t.equal(judge(text, 'h1', ed1), 'known');
  t.equal(judge(text, 'H1', ed1), 'known', 'names have no case');
  t.equal(judge(text, '10.0.0.1', ed1), 'known');
  t.equal(judge(text, 'h1', ed2), 'changed', 'of another port');
  t.equal(judge(text, 'h1', ed2, 2222), 'known');
  t.equal(judge(text, 'h2', ed1), 'unknown');
  t.equal(judge(text, 'a.example.com', ed1), 'known');
  t.equal(judge(text, 'bad.example.com', ed1), 'unknown');
  t.equal(judge(text, 'aXexample.com', ed1), 'unknown', 'a dot is a dot');
  t.equal(judge(text, 'n1.x', ed2, 2201), 'known');
  t.equal(judge(text, 'n12.x', ed2, 2201), 'unknown');
});

t.test('a changed key is changed whatever else is known, and says where', async (t) => {
  const text = ['# h1 has two', line('h1', rsa), line('h1', ed1)].join('\n');
  t.equal(judge(text, 'h1', ed1), 'known');
  t.equal(judge(text, 'h1', rsa), 'known');
  t.match(judgeHostKey(parseKnownHosts(text, 'known_hosts'), 'h1', 22, ed2), { kind: 'changed', entry: { file: 'known_hosts', line: 3 } });
  t.equal(judge(line('h1', rsa), 'h1', ed1), 'changed', 'a key of another type was not asked for');
  t.same(knownKeyTypes(parseKnownHosts(text, 'f'), 'h1', 22), ['ssh-rsa', 'ssh-ed25519']);
  t.same(knownKeyTypes(parseKnownHosts(text, 'f'), 'h2', 22), []);
});

t.test('a revoked key is refused even where it is known, for the hosts that it names', async (t) => {
  const text = [line('h1', ed1), `@revoked ${line('*', ed1)}`, `@revoked ${line('h3', ed2)}`, line('h2', ed2)].join('\n');
  t.equal(judge(text, 'h1', ed1), 'revoked');
  t.equal(judge(text, 'h2', ed2), 'known');
  t.equal(judge(text, 'h3', ed2), 'revoked');
  t.equal(judge(`@cert-authority ${line('*', ed1)}`, 'h1', ed1), 'unknown', 'an authority is no host key');
});

t.test('what is no entry is passed over', async (t) => {
  const text = ['', '   ', '#h1 ssh-rsa AAAA', 'h1', 'h1 ssh-rsa', 'h1 ssh-rsa !!!', `  ${line('h1', ed1)} a comment\r`].join('\n');
  t.same(
    parseKnownHosts(text, 'f').map((entry) => entry.line),
    [7],
  );
  t.equal(judge(text, 'h1', ed1), 'known');
});

t.test('a line that is added is known afterwards', async (t) => {
  for (const port of [22, 2222]) t.equal(judge(lineFor('h1', port, ed1), 'h1', ed1, port), 'known');
  t.equal(lineFor('H1', 2222, ed1).split(' ')[0], '[h1]:2222');
  t.match(fingerprintOf(ed1), /^SHA256:[A-Za-z0-9+/]{43}$/);
});

const hasKeygen = spawnSync('ssh-keygen', ['-?']).error === undefined;
t.test('entries that ssh-keygen has made and hashed', { skip: !hasKeygen && 'needs ssh-keygen' }, async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-known-hosts-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const [key, file] = [path.join(folder, 'key'), path.join(folder, 'known_hosts')];
  t.equal(spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]).status, 0);
  const [type, encoded] = readFileSync(`${key}.pub`, 'utf8').split(' ') as [string, string];
  writeFileSync(file, `h1,h2 ${type} ${encoded}\n[h3]:2222 ${type} ${encoded}\n`);
  const shown = spawnSync('ssh-keygen', ['-l', '-f', `${key}.pub`], { encoding: 'utf8' }).stdout;
  t.equal(spawnSync('ssh-keygen', ['-q', '-H', '-f', file]).status, 0);
  const text = readFileSync(file, 'utf8');
  t.match(text, /^(\|1\|\S+ \S+ \S+\n)+$/, 'the names are hashed');
  const wire = Buffer.from(encoded, 'base64');
  t.equal(judge(text, 'h1', wire), 'known');
  t.equal(judge(text, 'h2', wire), 'known');
  t.equal(judge(text, 'h3', wire, 2222), 'known');
  t.equal(judge(text, 'h3', wire), 'unknown');
  t.equal(judge(text, 'h2', ed1), 'changed');
  t.ok(shown.includes(fingerprintOf(wire)), shown);
});
