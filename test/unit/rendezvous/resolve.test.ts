import t from 'tap';
import { RendezvousError } from '../../../src/errors';
import { resolveHosts } from '../../../src/rendezvous/resolve';

const failing = (code: string): NodeJS.ErrnoException => Object.assign(new Error(`getaddrinfo ${code}`), { code });
const common = { whom: 'rank 0', remedy: 'Add the service.' };

t.test('a name that is not known yet is asked for again', async (t) => {
  let tries = 0;
  const ask = async () => {
    tries += 1;
    if (tries < 4) throw failing(tries % 2 === 0 ? 'EAI_AGAIN' : 'ENOTFOUND');
    return [{ address: '10.0.0.1' }, { address: 'fd00::1' }];
  };
  t.same(await resolveHosts({ ...common, hosts: ['train-0.train'], ask }), ['10.0.0.1', 'fd00::1']);
  t.equal(tries, 4);
});

t.test('of several names, those that are known count', async (t) => {
  const ask = async (host: string) => {
    if (host === 'gone') throw failing('ENOTFOUND');
    return [{ address: host }];
  };
  t.same(await resolveHosts({ ...common, hosts: ['gone', '10.0.0.1', '10.0.0.2', '10.0.0.1'], ask }), ['10.0.0.1', '10.0.0.2']);
});

t.test('a name that never comes is an error that says what to do', async (t) => {
  const never = async () => Promise.reject(failing('ENOTFOUND'));
  const error = await resolveHosts({ ...common, hosts: ['train-0.train'], ask: never, timeoutMs: 400 }).catch(
    (failure: unknown) => failure,
  );
  t.ok(error instanceof RendezvousError);
  t.match(error, {
    message: /^The host of rank 0, train-0.train, has no address after \d+ s and [2-9] tries: getaddrinfo ENOTFOUND. Add the service.$/,
  });
});

t.test('what will not pass is not tried again', async (t) => {
  let tries = 0;
  const ask = async () => {
    tries += 1;
    throw failing('EINVAL');
  };
  await t.rejects(resolveHosts({ ...common, hosts: ['x'], ask }), RendezvousError);
  t.equal(tries, 1);
});

t.test('addresses need no name server', async (t) => {
  t.same(await resolveHosts({ ...common, hosts: ['127.0.0.1', '::1'] }), ['127.0.0.1', '::1']);
});
