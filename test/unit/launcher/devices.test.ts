import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { findDevices, findTaskset } from '../../../launcher/devices';

t.test('a taskset is the first file of that name in PATH that may be executed', async (t) => {
  const root = mkdtempSync(path.join(os.tmpdir(), 'khorovod-devices-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  const folder = (name: string): string => path.join(root, name);
  for (const name of ['folder', 'plain', 'right', 'second']) mkdirSync(folder(name));
  mkdirSync(path.join(folder('folder'), 'taskset'));
  writeFileSync(path.join(folder('plain'), 'taskset'), '');
  for (const name of ['right', 'second']) {
    const file = path.join(folder(name), 'taskset');
    writeFileSync(file, '');
    chmodSync(file, 0o755);
  }
  const find = (...names: string[]): string | undefined => findTaskset(names.map((name) => name && folder(name)).join(':'));
  t.equal(find('', 'missing', 'folder', 'plain', 'right', 'second'), path.join(folder('right'), 'taskset'));
  t.equal(find('folder', 'plain'), undefined);
  t.equal(findTaskset(''), undefined);
});

t.test('processors are those of this process, each once; the GPUs of a list are taken as they are named', async (t) => {
  const { cpus, gpus } = findDevices('3,GPU-5,');
  t.same(gpus, ['3', 'GPU-5']);
  t.equal(new Set(cpus).size, cpus.length);
  // A cgroup's quota makes it fewer than there are.
  if (process.platform === 'linux') t.ok(cpus.length >= os.availableParallelism(), `${cpus}`);
});
