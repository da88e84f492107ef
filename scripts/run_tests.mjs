// Runs test suites from dist/test and counts: `node scripts/run_tests.mjs unit parallel integration [--only REGEXP] [--np 1,2,3] [--project FOLDER] [--oversubscribe]`.
//   unit, slow_unit, integration, slow, …: each file is a program that prints TAP; those of one process (unit, slow_unit), those that mostly wait (integration, hosts) and backends run two at once
//   backends:             such programs too, for backends that this machine may lack; what cannot be had is skipped
//   hosts:                such programs too, each with hosts of its own; as root, with iproute2 and openssh-server, otherwise they are skipped
//   parallel:             each file runs on every rank of `tsrun -np 1`, `2` and `3` (--np: of others; `npm test` runs 1 and 3, CI 2 on other backends and Nodes, and 5); each rank prints TAP; with --project as a script of that folder; --oversubscribe
//                         is for tsrun: ranks may share a GPU
// The files are run by plain node, as users run the package (the tap runner would put its own hooks into every child process). The last line is `N passed, N failed[, N skipped]`.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Parser } from 'tap-parser';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const args = process.argv.slice(2);
const taken = (option, otherwise) => (args.includes(option) ? args.splice(args.indexOf(option), 2)[1] : otherwise);
const only = new RegExp(taken('--only', '.'));
const sizes = taken('--np', '1,2,3').split(',');
const project = taken('--project', undefined);
const oversubscribe = args.includes('--oversubscribe') ? args.splice(args.indexOf('--oversubscribe'), 1) : [];
const FILE_LIMIT_MS = 900_000;
const AT_ONCE = { unit: 2, slow_unit: 2, integration: 2, hosts: 2, backends: 2 };
const total = { passed: 0, failed: 0, skipped: 0 };

function testFiles(suite) {
  const folder = path.join(root, 'dist/test', suite);
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith('.test.js') && only.test(`${suite}/${name}`))
    .sort()
    .map((name) => path.join(folder, name));
}

/** Ends with {code, signal, out, err}; a program that does not end in time is killed with all it started. */
function run(command, args) {
  return new Promise((resolve) => {
    // One deadline, that of the whole file: tap's own of 30 s says nothing on a busy machine. One thread a process, where a test says nothing else: two files run at once.
    const env = { TSRUN_THREADS_PER_PROCESS: '1', ...process.env, TAP_TIMEOUT: String(FILE_LIMIT_MS / 1000) };
    const child = spawn(command, args, { cwd: root, detached: true, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, err, late] = ['', '', false];
    child.stdout.setEncoding('utf8').on('data', (text) => (out += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (err = (err + text).slice(-20_000)));
    const timer = setTimeout(() => {
      late = true;
      process.kill(-child.pid, 'SIGKILL');
    }, FILE_LIMIT_MS);
    child.on('error', (error) => (err += error.message));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal: late ? `SIGKILL after ${FILE_LIMIT_MS / 1000} s` : signal, out, err });
    });
  });
}

/** Counts the test points of one TAP text and prints what failed. */
function count(title, tap, { code, signal, err }) {
  const found = { passed: 0, failed: 0, skipped: 0 };
  const failures = [];
  const parser = new Parser();
  parser.on('pass', () => (found.passed += 1));
  parser.on('skip', (point) => {
    found.skipped += 1;
    found.passed -= 1;
    console.log(`  skipped: ${title}: ${point.name} (${point.skip})`);
  });
  parser.on('fail', (point) => {
    found.failed += 1;
    failures.push(`${point.fullname ?? point.name}\n${JSON.stringify(point.diag, null, 2) ?? ''}`);
  });
  parser.end(tap);
  found.passed = Math.max(0, found.passed);
  if (found.failed === 0 && (code !== 0 || !parser.ok || found.passed + found.skipped === 0)) {
    found.failed = 1;
    failures.push(
      `ended with ${signal ?? `exit code ${code}`}${found.passed + found.skipped === 0 ? ' and ran no test' : ''}\n${tap.slice(-2000)}`,
    );
  }
  for (const key of Object.keys(total)) total[key] += found[key];
  for (const failure of failures) console.log(`FAILED ${title}: ${failure}`);
  if (failures.length > 0 && err) console.log(`  stderr of ${title}:\n${err.slice(-4000)}`);
  return found;
}

const started = performance.now();
const line = (title, found, ms) =>
  console.log(
    `${found.failed ? 'not ok' : 'ok'} ${title}: ${found.passed} passed${found.failed ? `, ${found.failed} failed` : ''} (${(ms / 1000).toFixed(1)} s)`,
  );

async function runFile(file) {
  const title = path.relative(path.join(root, 'dist/test'), file);
  const from = performance.now();
  const ended = await run(process.execPath, [file]);
  line(title, count(title, ended.out, ended), performance.now() - from);
}

async function runParallel(file, np) {
  const title = `${path.relative(path.join(root, 'dist/test'), file)} -np ${np}`;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'khorovod-parallel-'));
  const from = performance.now();
  const program = project === undefined ? file : path.join(project, `${path.basename(file, '.js')}.cjs`);
  if (project !== undefined) fs.writeFileSync(program, `require(${JSON.stringify(file)});\n`);
  const ended = await run(process.execPath, [
    path.join(root, 'dist/launcher/tsrun.js'),
    '-np',
    np,
    ...oversubscribe,
    '--output-filename',
    folder,
    program,
  ]);
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (let rank = 0; rank < Number(np); rank += 1) {
    const out = path.join(folder, `rank.${rank}`, 'stdout');
    const found = count(`${title}, rank ${rank}`, fs.existsSync(out) ? fs.readFileSync(out, 'utf8') : '', ended);
    for (const key of Object.keys(sum)) sum[key] += found[key];
  }
  fs.rmSync(folder, { recursive: true, force: true });
  line(title, sum, performance.now() - from);
}

async function all(jobs, atOnce, act) {
  const work = async () => {
    for (let job = jobs.shift(); job; job = jobs.shift()) await act(job);
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

for (const suite of args) {
  const files = testFiles(suite);
  if (suite === 'parallel') {
    const jobs = files.flatMap((file) => sizes.map((np) => ({ file, np })));
    const isAlone = ({ np }) => np === '1';
    await all(jobs.filter(isAlone), 2, ({ file, np }) => runParallel(file, np));
    await all(
      jobs.filter((job) => !isAlone(job)),
      1,
      ({ file, np }) => runParallel(file, np),
    );
  } else await all(files, AT_ONCE[suite] ?? 1, runFile);
}
console.log(`# ${((performance.now() - started) / 1000).toFixed(0)} s`);
console.log(`${total.passed} passed, ${total.failed} failed${total.skipped ? `, ${total.skipped} skipped` : ''}`);
process.exit(total.failed > 0 || total.passed + total.skipped === 0 ? 1 : 0);
