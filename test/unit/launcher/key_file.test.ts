import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { errorFileOf, jobFolder, makeJobFolder, readErrorRecord, removeJobFolder } from '../../../launcher/key_file';

t.test('the key lies in a file of 0600 in a folder of 0700, made once', async (t) => {
  const jobId = randomBytes(16).toString('hex');
  t.teardown(() => removeJobFolder(jobId));
  const key = randomBytes(32);
  const file = makeJobFolder(jobId, key);
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.equal(statSync(jobFolder(jobId)).mode & 0o777, 0o700);
  t.same(readFileSync(file), key);
  t.throws(() => makeJobFolder(jobId, key), { code: 'EEXIST' }, 'nobody else’s folder is used');
  removeJobFolder(jobId);
  t.notOk(existsSync(jobFolder(jobId)));
});

t.test('what a rank recorded is read only as far as it is a record', async (t) => {
  const jobId = randomBytes(16).toString('hex');
  makeJobFolder(jobId, randomBytes(32));
  t.teardown(() => removeJobFolder(jobId));
  const file = errorFileOf(jobId, '3');
  const read = (text: string) => {
    writeFileSync(file, text);
    return readErrorRecord(file);
  };
  t.equal(readErrorRecord(file), undefined);
  t.match(read('{"code":"ERR_HVD_PEER","message":"m","peer":1,"host":"h","extra":2}'), {
    code: 'ERR_HVD_PEER',
    message: 'm',
    peer: 1,
    host: 'h',
  });
  for (const text of ['', 'no json', '[]', 'null', '{"code":1,"message":"m"}', `{"code":"c","message":"${'x'.repeat(70_000)}"}`])
    t.equal(read(text), undefined, text.slice(0, 20));
});
