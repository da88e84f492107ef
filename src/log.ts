/**
 * Log lines on stderr, written with `writeSync`: they appear even while the main thread blocks in `Atomics.wait` (console of a worker does not).
 * Any thread. Format as Horovod's: `[time: LEVEL] [rank]: text`.
 */
import { writeSync } from 'node:fs';

export const logLevels = ['TRACE', 'DEBUG', 'INFO', 'WARNING', 'ERROR', 'FATAL'] as const;
export type LogLevel = (typeof logLevels)[number];

let threshold = logLevels.indexOf('WARNING');
let prefix = '';
let hidesTime = false;

export function configureLog(options: { level: LogLevel; rank?: number; hideTime?: boolean }): void {
  threshold = logLevels.indexOf(options.level);
  prefix = options.rank === undefined ? '' : `[${options.rank}]: `;
  hidesTime = options.hideTime ?? false;
}

export function isLogged(level: LogLevel): boolean {
  return logLevels.indexOf(level) >= threshold;
}

export function log(level: LogLevel, text: string): void {
  if (!isLogged(level)) return;
  const time = hidesTime ? '' : `${new Date().toISOString().replace('T', ' ').replace('Z', '')}: `;
  writeLine(`[${time}${level}] ${prefix}${text}`);
}

/** What is no warning, and yet for everybody's eyes: unless only errors are. */
export function notice(text: string): void {
  if (isLogged('WARNING')) writeLine(`khorovod: ${text}`);
}

/** One whole line on stderr; a full or closed pipe loses it rather than the program. */
export function writeLine(text: string): void {
  const bytes = Buffer.from(`${text}\n`);
  for (let from = 0, tries = 0; from < bytes.length && tries < 1000; tries += 1) {
    try {
      from += writeSync(2, bytes, from);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
    }
  }
}
