/** Which backends of TensorFlow.js scripts in a folder of this host can use: each is tried in a process of its own (src/check_backend). Agent process, and tsrun's for --check-build. */
import path from 'node:path';
import { backendNames, environment, knobs } from '../src/config';
import type { khorovod } from '../src/wire/generated/messages';
import { runToEnd } from './process';

type Checked = khorovod.CheckedBackend.$Properties;

/** Loading libtensorflow for a GPU takes some seconds of it. */
const CHECK_MS = 20_000;
const program = path.join(__dirname, '..', 'src', 'check_backend.js');

/** In the order of their speed. */
export function checkBackends(folder: string): Promise<Checked[]> {
  return Promise.all(backendNames.map((name) => checkBackend(name, folder)));
}

async function checkBackend(name: string, folder: string): Promise<Checked> {
  const argv = [process.execPath, '-e', `require(${JSON.stringify(program)})`, name];
  // It asks for one backend itself, and warnings of the others' are not its findings.
  const env = { ...environment(), [knobs.backend.env]: '', [knobs.logLevel.env]: 'ERROR' };
  const { out, err } = await runToEnd(argv, env, CHECK_MS, { cwd: folder });
  const line = out.split('\n').find((text) => text.startsWith('{'));
  if (line !== undefined) return JSON.parse(line) as Checked;
  const last = err.trim().split('\n').at(-1) ?? '';
  return { name, installed: true, problem: `its process ended, or took more than ${CHECK_MS / 1000} s${last && `: ${last}`}` };
}

/** A section of --check-build. */
export function backendLines(checked: readonly Checked[]): string {
  const lines = checked.map(({ name, device, problem, install }) =>
    device ? `    [X] ${name}: ${device}` : `    [ ] ${name}: ${problem}${install ? ` (${install})` : ''}`,
  );
  return ['', 'Backends for training:', ...lines, ''].join('\n');
}
