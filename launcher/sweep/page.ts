/** The report of a sweep: what stands in report.html. Pure. */

import path from 'node:path';
import type { Report, Section } from '../../src/bench/report';
import { knobs } from '../../src/config';
import { nameOf } from './plan';
import { type RunRecord, type SweepFile, textsOf } from './records';
import type { Summary } from './summary';
import { percent, type TextTable, withInterval } from './table';

export interface DrawnFigure {
  readonly name: string;
  readonly light: string;
  readonly dark: string;
  readonly isWide: boolean;
}

export function pageOf(
  file: SweepFile,
  summary: Summary,
  table: TextTable,
  figures: readonly DrawnFigure[],
  warnings: readonly string[],
): Report {
  const { asked, sessions, runs } = file;
  const failures = runs.filter(({ isFailed }) => isFailed);
  const open = summary.cells.reduce((sum, cell) => sum + cell.open, 0);
  const sections: Array<Section | undefined> = [
    figures.length === 0
      ? undefined
      : { heading: 'Scaling', figures: figures.map(({ name, ...figure }) => ({ label: `${name} against workers`, ...figure })) },
    { heading: 'All cells', text: readingOf(summary), table },
    failures.length === 0 ? undefined : failed(failures),
    { heading: 'Command', code: sessions.at(-1)?.commandLine ?? '' },
    ...sessions
      .slice(-1)
      .map(({ machine }) => ({ heading: 'Machine', facts: [...factsOf(machine), ...hostsOf(file), ...textFacts(runs)] })),
    { heading: 'Configuration', text: 'What differs from the defaults.', facts: configuration(asked.knobs) },
    { heading: 'Sessions', table: sessionsOf(file) },
  ];
  return {
    title: [path.basename(asked.command[0]!), ...asked.command.slice(1)].join(' '),
    subtitle: `tsrun sweep: ${asked.workers.length} worker counts, ${asked.strategies.join(', ')}, ${asked.repeats} repeats; ${runs.length - failures.length} runs went well, ${failures.length} failed, ${open} are still to be run.`,
    warnings,
    cards: cardsOf(summary),
    sections: sections.filter((section) => section !== undefined),
    footer: 'All samples, with every number that ranks reported, are in sweep.json beside this file; the output of each run is in logs/.',
  };
}

function readingOf({ metric, base }: Summary): string {
  if (metric === undefined) return 'No rank has reported a number: call hvd.report({ imagesPerSec }) in the script.';
  return `Means with 95 % confidence intervals (Student's t). Efficiency is ${metric} per worker, relative to ${base} worker${base === 1 ? '' : 's'} of the same strategy and values; the errors of both are propagated.`;
}

function cardsOf({ metric, cells }: Summary): Report['cards'] {
  const measured = cells.filter(({ throughput }) => throughput !== undefined);
  if (measured.length === 0) return [];
  const best = measured.reduce((a, b) => (b.throughput!.mean > a.throughput!.mean ? b : a));
  const largest = Math.max(...measured.map(({ cell }) => cell.workers));
  const scaled = measured.filter(({ cell, efficiency }) => cell.workers === largest && efficiency !== undefined);
  const most = scaled.length > 0 ? scaled.reduce((a, b) => (b.efficiency!.mean > a.efficiency!.mean ? b : a)) : undefined;
  return [
    { value: withInterval(best.throughput), label: `${metric} at most: ${nameOf(best.cell)}` },
    ...(most && cells.length > 1
      ? [{ value: percent(most.efficiency), label: `efficiency at ${largest} workers: ${nameOf(most.cell)}` }]
      : []),
    { value: String(measured.reduce((sum, { samples }) => sum + samples.length, 0)), label: `samples in ${measured.length} cells` },
  ];
}

function failed(failures: readonly RunRecord[]): Section {
  return {
    heading: 'Failed runs',
    text: 'Each with what failed first.',
    table: {
      heads: ['cell', 'repeat', 'exit code', 'cause', 'log'],
      rows: failures.map(({ cell, repeat, exitCode, cause = '', log }) => [nameOf(cell), String(repeat), String(exitCode), cause, log]),
      numeric: [1, 2],
    },
  };
}

const factsOf = (facts: Readonly<Record<string, number | string>>): Array<[string, string]> =>
  Object.entries(facts).map(([name, value]) => [name === 'memoryGiB' ? 'memory (GiB)' : name, String(value)]);

const hostsOf = ({ asked: { hosts } }: SweepFile): Array<[string, string]> =>
  hosts.length > 0 ? [['hosts of the jobs', hosts.join(', ')]] : [];

const textFacts = (runs: readonly RunRecord[]): Array<[string, string]> =>
  Object.entries(textsOf(runs)).map(([name, values]) => [`${name} (reported)`, values.slice(0, 8).join(', ')]);

function configuration(values: Readonly<Record<string, unknown>>): Array<[string, string]> {
  const fallbackOf = new Map<string, unknown>(Object.values(knobs).map(({ env, fallback }) => [env, fallback ?? '']));
  const text = (value: unknown): string => (typeof value === 'object' ? JSON.stringify(value) : String(value));
  const changed = Object.entries(values).filter(([env, value]) => text(value) !== text(fallbackOf.get(env)));
  return changed.length === 0 ? [['—', 'every knob has its default']] : changed.map(([env, value]) => [env, text(value)]);
}

function sessionsOf({ sessions }: SweepFile): Section['table'] {
  return {
    heads: ['started', 'last run ended', 'host', 'processor', 'Node', 'khorovod'],
    rows: sessions.map(({ startedAt, endedAt, machine }) => [
      startedAt,
      endedAt ?? '–',
      ...['host', 'processor', 'node', 'khorovod'].map((name) => String(machine[name] ?? '–')),
    ]),
  };
}
