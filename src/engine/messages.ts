/** What the two threads say to each other over their port (structured clones, never seen by a peer). */
import { STAR_MAX_BYTES } from '../collective/select';
import type { Config } from '../config';
import type { ErrorRecord } from '../errors';
import { INT8_ROOM_BYTES } from '../memory/int8';
import type { ServerSubmission } from '../parameter_server/client';
import type { JobIdentity } from '../schedulers/identity';
import { BOARD_BYTES } from '../transport/shared_memory/board';
import { layOutWindows, type Windows } from '../transport/shared_memory/windows';
import type { Call } from './call';
import { MOST_FUSED_BYTES } from './fuse';
import type { Place } from './place';
import type { TimelineStart } from './timeline';

/** A call on its way into the communication thread. `byteOffset`: its parts lie there in the arena, one behind the other without gaps. */
export interface Submission {
  readonly id: number;
  readonly slot: number;
  readonly call: Call;
  readonly byteOffset: number;
  readonly bytes: number;
  /** The main thread blocks on it: negotiate at once. */
  readonly isAwaited: boolean;
}

export type ToThread =
  | { kind: 'submit'; submission: Submission }
  /** To the parameter servers, without negotiation. */
  | { kind: 'serve'; submission: ServerSubmission }
  /** Nothing is gathered any longer: somebody awaits a handle. */
  | { kind: 'flush' }
  /** The main thread blocks on the call of this key. */
  | { kind: 'await'; key: string }
  | { kind: 'report'; json: string }
  | { kind: 'startTimeline'; number: number; start: TimelineStart; file: string; marksCycles: boolean; ring: SharedArrayBuffer }
  | { kind: 'stopTimeline' }
  | { kind: 'leave'; failed: boolean; reason: string };

export type FromThread =
  /** Asynchronous calls that are complete (their slot words say so too). */
  | { kind: 'done'; ids: number[] }
  | { kind: 'record'; id: number; error?: ErrorRecord; outputs?: ArrayBuffer[]; rows?: number[][]; steps?: number }
  | { kind: 'running'; isHomogeneous: boolean; place: Place }
  | { kind: 'failed'; error: ErrorRecord };

export interface ThreadData {
  readonly config: Config;
  /** Who this is in a job that tsrun did not start. */
  readonly job?: JobIdentity;
  readonly generation: number;
  readonly memory: WebAssembly.Memory;
  readonly regions: Regions;
  readonly words: Int32Array;
}

/** The part of the arena that belongs to the communication thread: [0, reservedBytes). Pages nobody touches cost nothing. */
export interface Regions {
  readonly scratch: { byteOffset: number; bytes: number };
  readonly fusion: { byteOffset: number; bytes: number };
  /** Two operands of the star, one to a half. */
  readonly star: { byteOffset: number; bytes: number };
  /** What is quantised goes through it. */
  readonly codec: { byteOffset: number; bytes: number };
  readonly reservedBytes: number;
  /** The memory has grown to so many before the communication thread begins: nothing can be mapped over what is not there. */
  readonly leastBytes: number;
  /** Of ranks that share memory; the heap begins with the board and the fusion region, behind which the arena's free part begins. */
  readonly windows?: Windows;
}

/** Scratch: what is received before it is reduced; a few segments of the largest size in use. */
const SCRATCH_BYTES = 8 << 20;
const FIRST_PAGE_BYTES = 65536; // offset 0 stays unused, so that no kernel is ever given a null pointer

/** Of 4,096: addresses that differ by a multiple of that are alike to a processor that looks for what has just been written. */
const COLOUR_BYTES = 512;
const COLOURS = 8;

/** @param sharing ranks of this host that share memory, with this one @param index of this rank among them: arrays that lie at the same place on all heaps are read together, and begin at different colours */
export function layOutRegions(fusionThresholdBytes: number, sharing = 1, index = 0): Regions {
  const scratch = { byteOffset: FIRST_PAGE_BYTES, bytes: SCRATCH_BYTES };
  const star = { byteOffset: scratch.byteOffset + scratch.bytes, bytes: 2 * STAR_MAX_BYTES };
  const codec = { byteOffset: star.byteOffset + star.bytes, bytes: INT8_ROOM_BYTES };
  const until = wholePages(codec.byteOffset + codec.bytes);
  const windows = sharing < 2 ? undefined : layOutWindows(until, sharing);
  // What is gathered there is reduced by neighbours too: it is the first thing on the heap, after the board.
  const fusion = {
    byteOffset: windows ? windows.heap.byteOffset + wholePages(BOARD_BYTES) + (index % COLOURS) * COLOUR_BYTES : until,
    bytes: wholePages(Math.min(fusionThresholdBytes, MOST_FUSED_BYTES)),
  };
  const reservedBytes = fusion.byteOffset + fusion.bytes;
  const heapEnds = windows ? windows.heap.byteOffset + windows.heap.bytes : 0;
  return { scratch, fusion, star, codec, reservedBytes, leastBytes: Math.max(reservedBytes, heapEnds), windows };
}
const wholePages = (bytes: number): number => Math.ceil(bytes / FIRST_PAGE_BYTES) * FIRST_PAGE_BYTES;
