/**
 * The folder of one job on one host: the job key (0600 in a 0700 folder) and the files in which failing ranks record their error.
 *
 * Made by the agent, removed by the agent or, when that was killed, by its reaper; the launcher removes it on its own machine when both were killed.
 * The name follows from the job's id, which is random, and the number of the host in the job, so whoever cleans up needs to be told nothing else, and nobody can have made it before.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { ErrorRecord } from '../src/errors';

const MAX_RECORD_BYTES = 1 << 16;

/** A job's part on one of its hosts: hosts may share a disk, /tmp too, and two names may mean one machine. */
export const partOf = (job: string, place: number): string => `${job}_${place}`;

export function jobFolder(part: string): string {
  return path.join(os.tmpdir(), `tsrun-${part}`);
}

/** @returns the path of the key's file. @throws when the folder exists already or cannot be made */
export function makeJobFolder(part: string, key: Uint8Array): string {
  const folder = jobFolder(part);
  mkdirSync(folder, { mode: 0o700 });
  const keyFile = path.join(folder, 'key');
  writeFileSync(keyFile, key, { mode: 0o600, flag: 'wx' });
  return keyFile;
}

export function removeJobFolder(part: string): void {
  rmSync(jobFolder(part), { recursive: true, force: true, maxRetries: 3 });
}

export function errorFileOf(part: string, label: string): string {
  return path.join(jobFolder(part), `error-${label}`);
}

/** What the rank wrote down before it failed, if anything. */
export function readErrorRecord(file: string): ErrorRecord | undefined {
  try {
    const text = readFileSync(file);
    if (text.length > MAX_RECORD_BYTES) return undefined;
    const record: unknown = JSON.parse(text.toString('utf8'));
    if (typeof record !== 'object' || record === null) return undefined;
    const { code, message, rank, peer, host, tensor } = record as Record<string, unknown>;
    if (typeof code !== 'string' || typeof message !== 'string') return undefined;
    const numberOf = (value: unknown): number | undefined => (Number.isInteger(value) ? (value as number) : undefined);
    const textOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
    return { code, message, rank: numberOf(rank), peer: numberOf(peer), host: textOf(host), tensor: textOf(tensor) };
  } catch {
    return undefined;
  }
}
