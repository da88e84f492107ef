/** What the processes of one host are started with, and whether they can be. Agent process. */
import { statSync } from 'node:fs';
import path from 'node:path';
import { environment, type Knob, knobs } from '../src/config';
import type { khorovod } from '../src/wire/generated/messages';
import { errorFileOf } from './key_file';
import { jobMark, whyNotStartable } from './process';
import type { RankSpec } from './rank_process';
import { ownRuntime, rankArgv } from './script';

/** Where a shell looks that is told nothing. */
export const DEFAULT_PATH = '/usr/local/bin:/usr/bin:/bin';
/**
 * glibc asks for huge pages for what is allocated in pieces of 2 MiB and more, where the system leaves that to programs: most of the time of a large result in new memory is the first touch of its pages.
 * Who has set any of glibc's knobs keeps his own.
 */
const HUGE_PAGES = { GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' };
const packageFolder = path.join(__dirname, '..');

export interface HostFacts {
  readonly keyFile: string;
  /** Where the ranks of this host find the store. */
  readonly rendezvous: string;
  /** The program that binds to processors. */
  readonly taskset?: string;
}

export function specsOf(job: khorovod.StartJob.$Properties, { keyFile, rendezvous, taskset }: HostFacts): RankSpec[] {
  const jobId = job.jobId ?? '';
  const part = job.part ?? '';
  const common = withoutOurs({ ...(job.script ? HUGE_PAGES : {}), ...(job.adds ? environment() : {}), ...environmentOf(job.env) });
  const cwd = job.wdir || process.cwd();
  const argv = rankArgv(commandOf(job, cwd), job.script ?? false, ownRuntime);
  return (job.ranks ?? []).map(({ label = '', env, cpus, stdin }) => {
    const errorFile = errorFileOf(part, label ?? '');
    return {
      label: label ?? '',
      argv,
      binding: cpus && cpus.length > 0 ? [taskset!, '-c', cpus.join(',')] : [],
      env: {
        ...common,
        ...environmentOf(env),
        [jobMark(part).name]: '1',
        [knobs.jobId.env]: jobId,
        [knobs.keyFile.env]: keyFile,
        [knobs.errorFile.env]: errorFile,
        [knobs.rendezvous.env]: rendezvous,
      },
      cwd,
      hasStdin: stdin ?? false,
      errorFile,
    };
  });
}

/** Why one of them cannot be started here; asked before any of the job is. */
export function whyNot(job: khorovod.StartJob.$Properties, specs: readonly RankSpec[]): { label: string; reason: string } | undefined {
  for (const { label, argv, env, cwd } of specs) {
    const reason = whyNotStartable(argv[0] ?? '', env.PATH ?? DEFAULT_PATH, cwd) ?? whyNoScript(job, cwd);
    if (reason !== undefined) return { label, reason };
  }
  return undefined;
}

/** A script's path made whole. */
function commandOf({ command, script, own }: khorovod.StartJob.$Properties, cwd: string): string[] {
  const [first = '', ...rest] = command ?? [];
  return script ? [path.resolve(own ? packageFolder : cwd, first), ...rest] : [first, ...rest];
}

function whyNoScript(job: khorovod.StartJob.$Properties, cwd: string): string | undefined {
  const [file = ''] = commandOf(job, cwd);
  if (!job.script || statSync(file, { throwIfNoEntry: false })?.isFile()) return undefined;
  return `there is no script ${file} there: the script must lie at the same place on every host (--wdir says from where it is looked for)`;
}

/** What tsrun sets says who a process is: none of it may come from a job that this one was started in. */
function withoutOurs(env: Record<string, string>): Record<string, string> {
  const ours = new Set(Object.values<Knob>(knobs).flatMap(({ env: name, setByTsrun }) => (setByTsrun ? [name] : [])));
  return Object.fromEntries(Object.entries(env).filter(([name]) => !ours.has(name)));
}

function environmentOf(list: khorovod.EnvVar.$Properties[] | null | undefined): Record<string, string> {
  return Object.fromEntries((list ?? []).map(({ name, value }) => [name ?? '', value ?? '']));
}
