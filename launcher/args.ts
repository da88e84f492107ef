/**
 * From the words of the command line to what is to be done. Pure: files and environment are given.
 *
 * tsrun's own options end at the first word that is no option: that is the script, and everything behind it is the script's, whatever it looks like. So the words are split
 * first, by the table of options; yargs sees tsrun's own only. What is wrong is a LaunchError (exit 2) of one line that says what was given and what is expected.
 */
import path from 'node:path';
import { collectives, splitBench, splitCalibrate } from './bench_words';
import { LaunchError } from './errors';
import { type InstallRequest, parseInstall } from './install_tfjs_node/request';
import type { Option } from './options';
import { isScript, type RunRequest, requestOf } from './request';
import { checkedSettings, type Outside, optionOf, parseOwn } from './settings';
import { parseSweep, type SweepRequest } from './sweep/args';
import { RUN_OF_SWEEP } from './sweep/messages';
import { splitWords } from './words';

export type CommandLine =
  | { readonly kind: 'version' | 'check-build' }
  /** Of a subcommand that has options of its own. */
  | { readonly kind: 'help'; readonly text?: string }
  /** `isOfSweep`: the process that started this one is told what ranks report, and how it ends. */
  | { readonly kind: 'run'; readonly request: RunRequest; readonly isOfSweep: boolean }
  | { readonly kind: 'sweep'; readonly request: SweepRequest }
  /** A program of ours that runs as the job. */
  | { readonly kind: 'bench'; readonly request: RunRequest }
  /** A program of ours that starts such jobs, and those of other libraries by turns with them. */
  | { readonly kind: 'compare'; readonly words: readonly string[] }
  /** Would a job with these options start? */
  | { readonly kind: 'doctor'; readonly request: RunRequest; readonly isJson: boolean }
  /** Makes tfjs-node work in the project of this folder. */
  | { readonly kind: 'install-tfjs-node'; readonly request: InstallRequest };

const laterCommands = ['analyze'];

/** @throws LaunchError */
export function parseCommandLine(words: readonly string[], outside: Outside, benchScript: string): CommandLine {
  const [first] = words;
  if (first !== undefined && laterCommands.includes(first) && !outside.isFile(path.resolve(outside.cwd, first)))
    throw new LaunchError(`tsrun ${first} comes with a later version of khorovod`);
  if (first === 'sweep') return parseSweep(words.slice(1), outside, (job) => runRequestOf(job, outside));
  if (first === RUN_OF_SWEEP) return { kind: 'run', request: runRequestOf(words.slice(1), outside), isOfSweep: true };
  if (first === 'bench') return parseBench(words.slice(1), outside, benchScript);
  if (first === 'doctor') return parseDoctor(words.slice(1), outside);
  if (first === 'install-tfjs-node') {
    const request = parseInstall(words.slice(1), outside.cwd);
    return request ? { kind: 'install-tfjs-node', request } : { kind: 'help' };
  }
  return parseRun(words.slice(first === 'run' ? 1 : 0), outside);
}

function parseRun(words: readonly string[], outside: Outside): CommandLine {
  const { own, command, isAny } = splitWords(words);
  const given = parseOwn(own);
  for (const kind of ['help', 'version', 'check-build'] as const) if (given.get(optionOf(kind))?.at(-1) === 'true') return { kind };
  return { kind: 'run', request: jobOf(given, command, isAny, outside), isOfSweep: false };
}

/** A job alone: what asks for help or the version has no meaning there. */
function runRequestOf(words: readonly string[], outside: Outside): RunRequest {
  const { own, command, isAny } = splitWords(words);
  return jobOf(parseOwn(own), command, isAny, outside);
}

function jobOf(given: ReadonlyMap<Option, string[]>, command: readonly string[], isAny: boolean, outside: Outside): RunRequest {
  const settings = checkedSettings(given, outside);
  const wdir = path.resolve(outside.cwd, settings.text('wdir') ?? '.');
  return requestOf(settings, { command, isScript: isScript(command, isAny, wdir, outside), isOwn: false, wdir }, outside);
}

/** Rank 0 alone prints: no prefixes. */
function setBenchDefaults(given: Map<Option, string[]>): void {
  if (!given.has(optionOf('np'))) given.set(optionOf('np'), ['2']);
  if (!given.has(optionOf('prefix'))) given.set(optionOf('prefix'), ['false']);
}

/** The benchmark's options may stand among tsrun's. */
function parseBench(words: readonly string[], outside: Outside, benchScript: string): CommandLine {
  if (words.some((word) => /^--calibrate(=|$)/.test(word))) return parseCalibrate(words, outside, benchScript);
  const { collective, own, ofBench, isComparison } = splitBench(words);
  const split = splitWords(own);
  if (split.command.length > 0) throw new LaunchError(`tsrun bench ${collective ?? ''}: '${split.command[0]}' is no option of it`);
  const given = parseOwn(split.own);
  if (given.get(optionOf('help'))?.at(-1) === 'true') return { kind: 'help' };
  if (collective === undefined) throw new LaunchError(`tsrun bench measures one of ${collectives.join(', ')}: which?`);
  setBenchDefaults(given);
  const settings = checkedSettings(given, outside);
  const what = { command: [benchScript, collective, ...ofBench], isScript: true, isOwn: true, wdir: outside.cwd };
  const request = requestOf(settings, what, outside);
  if (!isComparison) return { kind: 'bench', request };
  if (request.hosts !== undefined || request.nodes !== undefined || request.tls)
    throw new LaunchError('tsrun bench --compare measures on this machine alone, in the clear: leave out hosts, --nnodes and --tls');
  const others = split.own.filter((word) => !word.startsWith('--np='));
  return { kind: 'compare', words: [collective, ...ofBench, `--np=${request.np}`, '--', ...others] };
}

/** Its job is made for measuring: no other algorithm has one message each way. */
function parseCalibrate(words: readonly string[], outside: Outside, benchScript: string): CommandLine {
  const { own, ofBench } = splitCalibrate(words);
  const split = splitWords(own);
  if (split.command.length > 0) throw new LaunchError(`tsrun bench --calibrate: '${split.command[0]}' is no option of it`);
  const given = parseOwn(split.own);
  for (const name of ['algorithm', 'cost-model', 'hierarchical-allreduce'])
    if (given.has(optionOf(name))) throw new LaunchError(`tsrun bench --calibrate: --${name} has no meaning there`);
  given.set(optionOf('algorithm'), ['recursive-doubling']);
  setBenchDefaults(given);
  const program = path.join(path.dirname(benchScript), 'calibrate.js');
  const what = { command: [program, ...ofBench], isScript: true, isOwn: true, wdir: outside.cwd };
  return { kind: 'bench', request: requestOf(checkedSettings(given, outside), what, outside) };
}

/** A job's options, and no command. Without -np, every slot counts. */
function parseDoctor(words: readonly string[], outside: Outside): CommandLine {
  const { own, command } = splitWords(words.filter((word) => word !== '--json'));
  if (command.length > 0) throw new LaunchError(`tsrun doctor: '${command[0]}' is no option of it; it runs nothing`);
  const given = parseOwn(own);
  if (given.get(optionOf('help'))?.at(-1) === 'true') return { kind: 'help' };
  const settings = checkedSettings(given, outside);
  if (settings.number('nnodes') !== undefined)
    throw new LaunchError('tsrun doctor looks at hosts from here: with --nnodes, run it on each host without that option');
  const wdir = path.resolve(outside.cwd, settings.text('wdir') ?? '.');
  const what = { command: [], isScript: false, isOwn: false, wdir, takesEverySlot: true };
  return { kind: 'doctor', request: requestOf(settings, what, outside), isJson: words.includes('--json') };
}
