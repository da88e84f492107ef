#!/usr/bin/env node
/**
 * `tsrun`: reads the command line, then runs the job (job.ts) and ends with its exit code. Errors on the way are one line and an exit code: 2 usage, 3 cannot launch, 4 too few slots.
 */
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { environment } from '../src/config';
import { writeLine } from '../src/log';
import { version } from '../src/version';
import { parseCommandLine } from './args';
import { backendLines, checkBackends } from './backends';
import { compare } from './comparison';
import { doctor } from './doctor/doctor';
import { LaunchError } from './errors';
import { assign } from './hosts';
import { Job } from './job';
import { formatMap } from './map';
import { runToEnd } from './process';
import { reach, reachHere } from './reach';
import type { RunRequest } from './request';
import { hostsOfJob, placeServers } from './servers';
import { helpText, type Outside } from './settings';
import { silenceLimitMs } from './silence';
import { files } from './ssh/files';
import { onceSweepIsGone, toSweep } from './sweep/child';

const CHECK_BUILD_MS = 60_000;
/** So that the agents hear of a Ctrl-Z before tsrun itself stops. */
const STOP_MS = 100;
const ownFile = (...parts: string[]): string => path.join(__dirname, '..', ...parts);

const outside: Outside = {
  cwd: process.cwd(),
  env: environment(),
  readText: (file) => readFileSync(file, 'utf8'),
  isFile: (file) => statSync(file, { throwIfNoEntry: false })?.isFile() ?? false,
};

async function run(request: RunRequest, isOfSweep = false): Promise<number> {
  const { np, ps, psHosts, command, wdir } = request;
  const listed = request.hosts ?? [{ host: 'localhost', slots: np }];
  const assignments = assign(np, listed, { oversubscribe: request.oversubscribe });
  const servers = placeServers(ps, listed, psHosts);
  if (request.isDryRun) {
    process.stdout.write(`${formatMap(assignments, servers, command)}\n`);
    return 0;
  }
  const hosts = hostsOfJob(assignments, servers);
  const timeoutMs = request.startTimeoutSeconds * 1000;
  const silenceMs = silenceLimitMs(request.peerTimeoutSeconds);
  const { rsh, awaitsHosts, ssh } = request;
  const reachAll = async () => {
    if (request.nodes) return reachHere(`node${request.nodes.nodeRank}`, request.nodes.nodeRank);
    return reach(hosts, { rsh, awaitsHosts, ssh, files, wdir, timeoutMs, silenceMs });
  };
  const job = new Job(request, assignments, servers, reachAll, isOfSweep ? toSweep : undefined);
  if (isOfSweep) onceSweepIsGone(() => job.abandon());
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => job.signal(signal));
  for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => job.forward(signal));
  // Ctrl-Z stops the job, `fg` goes on with it.
  process.on('SIGTSTP', () => {
    job.forward('SIGTSTP');
    setTimeout(() => process.kill(process.pid, 'SIGSTOP'), STOP_MS);
  });
  process.on('SIGCONT', () => job.forward('SIGCONT'));
  return job.run();
}

async function main(): Promise<number> {
  const line = parseCommandLine(process.argv.slice(2), outside, path.join('src', 'bench', 'collective.js'));
  switch (line.kind) {
    case 'version':
      process.stdout.write(`khorovod ${version}\n`);
      return 0;
    case 'help':
      process.stdout.write(`${line.text ?? (await helpText())}\n`);
      return 0;
    case 'check-build': {
      const { isOk, out, err } = await runToEnd([process.execPath, ownFile('src', 'check_build.js')], environment(), CHECK_BUILD_MS);
      process.stdout.write(out + backendLines(await checkBackends(process.cwd())));
      process.stderr.write(err);
      return isOk ? 0 : 1;
    }
    case 'run':
      return run(line.request, line.isOfSweep);
    case 'bench':
      return run(line.request);
    case 'compare':
      return compare([process.execPath, ownFile('src', 'bench', 'compare.js'), `--tsrun=${__filename}`, ...line.words], environment());
    case 'sweep': {
      // Loaded only here, as its plots are.
      const { sweep } = require('./sweep/sweep') as typeof import('./sweep/sweep');
      return sweep(line.request);
    }
    case 'doctor':
      return doctor(line.request, line.isJson);
    case 'install-tfjs-node': {
      const ending = new AbortController();
      for (const [signal, code] of [
        ['SIGINT', 130],
        ['SIGTERM', 143],
        ['SIGHUP', 129],
      ] as const)
        process.on(signal, () => {
          ending.abort();
          process.exit(code);
        });
      const trial = ownFile('src', 'tensorflow', 'backends', 'tfjs_node', 'try_tfjs_node.js');
      // Loaded only here: it brings an HTTP client, and every tsrun would wait for it.
      const { installTfjsNode } = require('./install_tfjs_node/install') as typeof import('./install_tfjs_node/install');
      return installTfjsNode(line.request, { env: environment(), trial, signal: ending.signal });
    }
  }
}

// Before anything else: SIGUSR1 would open Node's inspector, SIGUSR2 end the process.
for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => {});

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    const isExpected = error instanceof LaunchError;
    writeLine(
      isExpected ? `tsrun: ${error.message}` : `tsrun: unexpected error, please report it: ${(error as Error)?.stack ?? String(error)}`,
    );
    process.exit(isExpected ? error.exitCode : 1);
  },
);
