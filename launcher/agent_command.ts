/**
 * How an agent is started on another host, and what its exit codes mean. Pure; tsrun.
 *
 * By the user's login shell, so that node is found as it is in a terminal; the package is that of the working folder, or stands where it stands here.
 */
import path from 'node:path';
import type { Program } from './agent_channel';
import { LaunchError } from './errors';

const agentFile = path.join(__dirname, 'agent.js');
/** Those of the script below; 127 is the shell's. */
const NO_FOLDER = 90;
const NO_PACKAGE = 91;
const UNFIT_NODE = 92;
const NOT_A_FOLDER = 93;
const CLOSED_FOLDER = 94;
/** As package.json's engines has it. */
export const FIT_NODES = '^20.19 || ^22.12 || >=24';

/** Also runs on the host, in whatever node is there: old syntax, nothing of this file. */
export function isFitNode(version: string): boolean {
  const parts = version.replace(/^v/, '').split('.').map(Number);
  const major = parts[0]!;
  const minor = parts[1]!;
  return major >= 24 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19);
}

/** For a POSIX shell. */
export const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** What a POSIX shell of the host is to run. @param file of launcher/ @param silenceMs an agent that hears nothing for so long takes its launcher for gone */
export function remoteCommand(wdir: string, file: Program, silenceMs: number): string {
  const here = path.join(path.dirname(agentFile), file);
  const program =
    `if(!(${isFitNode.toString()})(process.version)){process.stderr.write('Node '+process.version);process.exitCode=${UNFIT_NODE}}else{` +
    `const {createRequire}=require('module'),p=require('path');let a;` +
    `try{a=p.join(p.dirname(createRequire(process.cwd()+'/x.js').resolve('khorovod')),'..','launcher',${JSON.stringify(file)})}catch(e){a=${JSON.stringify(here)}}` +
    `if(require('fs').existsSync(a)){process.argv[1]=a;require(a)}else process.exitCode=${NO_PACKAGE}}`;
  const folder = quoted(wdir);
  // Words that fish understands too.
  const enter = `test ! -e ${folder} || test -d ${folder} || exit ${NOT_A_FOLDER}; test ! -d ${folder} || test -x ${folder} || exit ${CLOSED_FOLDER}; cd ${folder} || exit ${NO_FOLDER}`;
  const script = `${enter}; exec node -e ${quoted(program)} - ${silenceMs}`;
  return `exec "\${SHELL:-/bin/sh}" -lc ${quoted(script)}`;
}

export type Lack = 'no folder' | 'not a folder' | 'closed folder' | 'package' | 'node';

/** By exit code: what the host lacks, and the sentence about it. */
const meanings: Readonly<Record<number, { lack: Lack; text: string }>> = {
  [NO_FOLDER]: { lack: 'no folder', text: 'found no such working folder there: make it, or name another one with --wdir' },
  [NOT_A_FOLDER]: { lack: 'not a folder', text: 'found a file there in place of the working folder: name a folder with --wdir' },
  [CLOSED_FOLDER]: {
    lack: 'closed folder',
    text: 'may not enter the working folder there: let this user into it, or name another one with --wdir',
  },
  [NO_PACKAGE]: {
    lack: 'package',
    text: 'found no khorovod there, neither in the working folder nor where it is here: npm install khorovod in the working folder of that host',
  },
  [UNFIT_NODE]: { lack: 'node', text: `found a Node there that is too old: install one of ${FIT_NODES}` },
  127: { lack: 'node', text: 'found no node there: install it, or put it into the PATH of a login shell' },
};

/** For a sentence that begins with the agent's name. */
export const describeExit = (code: number): string => meanings[code]?.text ?? `ended with exit code ${code}`;

/** @param how as describeExit says it, with more behind it */
export const lackOf = (how: string): Lack | undefined => Object.values(meanings).find(({ text }) => how.startsWith(text))?.lack;

/** The words of `--rsh`, as a shell would split them; quotes hold a word together. @throws LaunchError there is none, or a quote is not closed */
export function splitCommand(text: string): string[] {
  const words = text.match(/(?:[^\s'"]|'[^']*'|"[^"]*")+/g) ?? [];
  if (words.length === 0 || words.join('').length !== text.replace(/\s+(?=(?:[^'"]|'[^']*'|"[^"]*")*$)/g, '').length)
    throw new LaunchError(`--rsh '${text}' is no command`);
  return words.map((word) =>
    word.replace(/'([^']*)'|"([^"]*)"/g, (_, single: string | undefined, double: string | undefined) => single ?? double ?? ''),
  );
}
