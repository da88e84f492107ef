// What TCP carries from each host to the next and from the last to the first, all at once, by iperf3: `ringGoodput` of measuring.mjs has tsrun start it, one rank a host: `iperf3_ring.mjs h1,h2,h3,h4 SECONDS`.
//
// One stream a pair, its first second left out; what counts is what the receiver got. Rank 0 tells the bytes a second of each flow, by the rank that sends, and iperf3's version.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import os from 'node:os';
import { built, tellResult } from './measuring.mjs';

const PORT = '5391';
/** Until the server listens, and beyond the measurement. */
const PATIENCE_MS = 20_000;
const hosts = process.argv[2].split(',');
const seconds = process.argv[3];
const limitMs = 1000 * Number(seconds) + PATIENCE_MS;

/** @returns its standard output when `isEnough`, or when it has ended @throws Error iperf3 is missing, fails or takes too long */
async function iperf3(words, isEnough) {
  const child = spawn('iperf3', words, { stdio: ['ignore', 'pipe', 'pipe'], timeout: limitMs });
  let [stdout, stderr] = ['', ''];
  child.stderr.on('data', (chunk) => (stderr += chunk));
  const enough = new Promise((resolve) =>
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
      if (isEnough?.(stdout)) resolve(undefined);
    }),
  );
  const failed = once(child, 'error').then(([error]) => {
    throw new Error(`iperf3 does not start on ${os.hostname()} (${error.message}). Install it there: apt-get install iperf3.`);
  });
  const ended = once(child, 'close').then(([code]) => {
    if (code !== 0) throw new Error(`iperf3 ${words.join(' ')} ended with ${code} on ${os.hostname()}: ${stderr}${stdout.slice(-1000)}`);
  });
  await Promise.race([isEnough ? enough : ended, failed, ended]);
  return { stdout, ended };
}

const hvd = await built('src/index.js');
hvd.init();
const { ended } = await iperf3(['-s', '-1', '-p', PORT, '--forceflush'], (text) => text.includes('listening'));
hvd.barrier();
const next = hosts[(hvd.rank() + 1) % hosts.length];
const { stdout } = await iperf3(['-c', next, '-p', PORT, '-t', seconds, '-O', '1', '-J']);
await ended;
const { start, end } = JSON.parse(stdout);
const flows = hvd.allgather(Float64Array.of(end.sum_received.bits_per_second / 8));
tellResult(hvd, { flows: [...flows], version: start.version });
hvd.shutdown();
