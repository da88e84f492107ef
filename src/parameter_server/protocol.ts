/**
 * What workers and servers say to each other on their two streams. Pure.
 *
 * A worker pushes, a server answers on the other stream; each message is a head of HEAD_BYTES, and behind it what its kind says. Both are messages of a Transport, so lengths that a head announces are
 * believed only where they are what the layout says; a text is bounded.
 *
 * | worker → server | behind the head |
 * | --- | --- |
 * | open | the OptimizerSpec as JSON |
 * | values | one piece of the variables (slot 0) or of a slot (from 1 on), float32: what training begins with |
 * | push | a byte a variable of the piece (1: it has a gradient), then the gradients, float32 or in 16 bits |
 * | fetch | nothing: asks for one piece of a slot |
 * | close | nothing: this worker is done with the optimizer |
 *
 * | server → worker | behind the head |
 * | --- | --- |
 * | opened | nothing |
 * | values | a byte a variable of the piece (1: it was ever updated), then the piece, float32 |
 * | failed | an ErrorRecord as JSON: no push of this optimizer is answered any more |
 * | closed | nothing: nothing more comes for this optimizer |
 *
 * Pieces are numbered by their place in the spec of the server that holds them.
 */
import { type HalfFormat, halfFormats } from '../dtype';
import { WireError } from '../errors';
import type { Mode } from './consistency';
import { checkedRule, type RuleSpec } from './rules';

export const HEAD_BYTES = 64;
/** Names of variables do not travel, but there may be some ten thousand pieces and variables. */
export const MOST_TEXT_BYTES = 16 << 20;
const MAGIC = 0x50534831;

export const kinds = ['open', 'values', 'push', 'fetch', 'close', 'opened', 'failed', 'closed'] as const;
export type HeadKind = (typeof kinds)[number];

export interface Head {
  readonly kind: HeadKind;
  /** The worker's number for the optimizer, in the order in which it opened them. */
  readonly optimizer: number;
  readonly piece: number;
  /** values, fetch: 0 for the variables, else which slot. */
  readonly slot: number;
  /** push: the worker's step, from 1 on; values from a worker: steps that the slots have seen. */
  readonly step: number;
  readonly learningRate: number;
  /** open, failed: bytes of the text. */
  readonly textBytes: number;
  /** push: this worker's step has failed; values: another worker's has. values from a worker: the last of what training begins with. */
  readonly mark: boolean;
}

const none: Omit<Head, 'kind' | 'optimizer'> = { piece: 0, slot: 0, step: 0, learningRate: 0, textBytes: 0, mark: false };

export function writeHead(head: Pick<Head, 'kind' | 'optimizer'> & Partial<Head>): Uint8Array {
  const { kind, optimizer, piece, slot, step, learningRate, textBytes, mark } = { ...none, ...head };
  const bytes = Buffer.alloc(HEAD_BYTES);
  for (const [i, word] of [MAGIC, kinds.indexOf(kind), optimizer, piece, slot, step, textBytes, Number(mark)].entries())
    bytes.writeUInt32LE(word, 4 * i);
  bytes.writeDoubleLE(learningRate, 32);
  return bytes;
}

/** @throws WireError it is no head of this version */
export function readHead(bytes: Uint8Array): Head {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (i: number): number => view.getUint32(4 * i, true);
  const kind = kinds[word(1)];
  if (word(0) !== MAGIC || !kind) throw new WireError('What came where a message of a parameter server was due is none.');
  const textBytes = word(6);
  if (textBytes > MOST_TEXT_BYTES) throw new WireError(`A text of ${textBytes} bytes was announced; ${MOST_TEXT_BYTES} are allowed.`);
  const learningRate = view.getFloat64(32, true);
  if (!Number.isFinite(learningRate)) throw new WireError(`A learning rate of ${learningRate} was sent; it must be finite.`);
  return {
    kind,
    optimizer: word(2),
    piece: word(3),
    slot: word(4),
    step: word(5),
    learningRate,
    textBytes,
    mark: word(7) !== 0,
  };
}

/** A part of one variable that lies in a piece. */
export interface VariablePart {
  /** First element in the piece. */
  readonly from: number;
  readonly elems: number;
}
export interface PieceSpec {
  readonly elems: number;
  readonly variables: readonly VariablePart[];
}
/** What the workers of one optimizer agree on with one server; the same text from all of them. */
export interface OptimizerSpec {
  readonly name: string;
  readonly mode: Mode;
  /** Ranks. The first one's variables are what training begins with. */
  readonly workers: readonly number[];
  readonly rule: RuleSpec;
  readonly compression: 'none' | HalfFormat;
  readonly pieces: readonly PieceSpec[];
}

const isCount = (value: unknown, least = 0): value is number => Number.isSafeInteger(value) && (value as number) >= least;
/** All that wasm32 can address, in float32. */
const MOST_ELEMS = 2 ** 30;

/** @throws WireError it is no spec of this version */
export function readSpec(text: string): OptimizerSpec {
  let given: Partial<OptimizerSpec>;
  try {
    given = JSON.parse(text) as Partial<OptimizerSpec>;
  } catch {
    throw refusal('it is no JSON');
  }
  const { name, mode, workers, compression, pieces } = given ?? {};
  if (typeof name !== 'string' || name === '' || name.length > 1024) throw refusal('it has no name');
  const isMode = mode?.kind === 'sync' || mode?.kind === 'async' || (mode?.kind === 'ssp' && isCount(mode.staleness, 1));
  if (!isMode) throw refusal(`its mode is ${JSON.stringify(mode)}`);
  if (!Array.isArray(workers) || workers.length === 0 || !workers.every((worker) => isCount(worker))) throw refusal('it names no workers');
  if (compression !== 'none' && !halfFormats.includes(compression as HalfFormat)) throw refusal(`it compresses by ${String(compression)}`);
  if (!Array.isArray(pieces) || !pieces.every(isPiece)) throw refusal('its pieces are none');
  if (pieces.reduce((sum, { elems }) => sum + elems, 0) > MOST_ELEMS) throw refusal(`it has more than ${MOST_ELEMS} elements`);
  return { name, mode, workers, rule: checkedRule(given.rule), compression: compression!, pieces };
}

function isPiece(piece: Partial<PieceSpec> | null): piece is PieceSpec {
  if (!piece || !isCount(piece.elems, 1) || !Array.isArray(piece.variables)) return false;
  let end = 0;
  for (const part of piece.variables as Array<Partial<VariablePart> | null>) {
    if (!part || part.from !== end || !isCount(part.elems, 1)) return false;
    end += part.elems;
  }
  return end === piece.elems;
}

const refusal = (why: string): WireError =>
  new WireError(`The description of an optimizer was refused: ${why}. Install the same version of khorovod on every host.`);
