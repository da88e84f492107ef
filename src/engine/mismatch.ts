/**
 * What the ranks' calls of one name disagree about, as the error that every one of them gets. Pure; coordinator.
 *
 * The checks go from what explains most to what explains least: a gather met by a reduction has other shapes too, but the shapes are not
 * the news. Axis 0 of a gather or an exchange may differ, and so may its splits.
 */
import { MismatchError } from '../errors';
import { type Call, isRagged, isSameCall, isSameShape } from './call';
import { listed, ranksAndHosts } from './ranks';

interface Check {
  readonly what: (kind: string) => string;
  /** One text a call; they agree if the texts do. */
  readonly shown: (calls: readonly Call[]) => string[];
  readonly todo: string;
}

const each =
  (of: (call: Call) => string) =>
  (calls: readonly Call[]): string[] =>
    calls.map(of);

const checks: readonly Check[] = [
  { what: () => 'Mismatched operations', shown: each(({ kind }) => kind), todo: 'Give different collectives different names.' },
  { what: () => 'Mismatched data types', shown: each(({ dtype }) => dtype), todo: 'Cast to one dtype on every rank before the call.' },
  {
    what: () => 'Mismatched grouping',
    shown: each(({ grouped }) => (grouped ? 'a group' : 'a single tensor')),
    todo: 'Make the grouped call on every rank, or on none.',
  },
  {
    what: (kind) => `Mismatched ${kind} tensor shapes`,
    shown: shapesOf,
    todo: 'Give every rank the same shape (of allgather and alltoall axis 0 may differ), and different tensors different names.',
  },
  {
    what: () => 'Mismatched prescale and/or postscale factors',
    shown: each(({ prescale, postscale }) => `prescale ${prescale}, postscale ${postscale}`),
    todo: 'Give every rank the same factors.',
  },
  { what: () => 'Mismatched reduction operation', shown: each(({ op }) => op), todo: 'Give every rank the same op.' },
  {
    what: () => 'Mismatched compression',
    shown: each(({ compression }) => `compression ${compression}`),
    todo: 'Give every rank the same compression.',
  },
  {
    what: (kind) => `Mismatched ${kind} root ranks`,
    shown: each(({ root }) => `root ${root}`),
    todo: 'Give every rank the same rootRank.',
  },
];

/** @param calls one a member; @param members the ranks, in the same order */
export function mismatchOf(
  calls: readonly Call[],
  members: readonly number[],
  hostOf: (rank: number) => string,
  /** Behind the name: of which process set. */
  ofSet = '',
): MismatchError | undefined {
  const first = calls[0]!;
  if (calls.every((call) => isSameCall(call, first))) return undefined;
  for (const { what, shown, todo } of checks) {
    const texts = shown(calls);
    if (texts.every((text) => text === texts[0])) continue;
    return new MismatchError(`${what(first.kind.toUpperCase())} for '${first.name}'${ofSet}: ${sides(texts, members, hostOf)}. ${todo}`, {
      tensor: first.name,
    });
  }
  return undefined;
}

/** Of a group only the first tensor that differs: all the shapes of a model are not what anybody wants to read. */
function shapesOf(calls: readonly Call[]): string[] {
  const [first] = calls as [Call];
  if (calls.some(({ parts }) => parts.length !== first.parts.length)) return calls.map(({ parts }) => `${parts.length} tensors`);
  const mayDiffer = isRagged(first.kind);
  const compared = (shape: readonly number[]): readonly number[] => (mayDiffer ? shape.slice(1) : shape);
  const isSame = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && isSameShape(compared(a), compared(b));
  const part = first.parts.findIndex((shape, i) => calls.some(({ parts }) => !isSame(parts[i]!, shape)));
  if (part < 0) return calls.map(() => '');
  const where = first.grouped ? ` as tensor ${part} of the group` : '';
  // An axis 0 that may differ on each rank; shown as such it would split those that agree.
  const axes = (shape: readonly number[]): string => (mayDiffer ? ['any', ...shape.slice(1)] : shape).join(',');
  return calls.map(({ parts }) => `[${axes(parts[part]!)}]${where}`);
}

const mostSides = 4;

/** "float32 on rank 0 and 2 (host a), but float64 on rank 1 (host b)". */
function sides(texts: readonly string[], members: readonly number[], hostOf: (rank: number) => string): string {
  const ranksOf = new Map<string, number[]>();
  for (const [i, text] of texts.entries()) {
    const ranks = ranksOf.get(text);
    if (ranks) ranks.push(members[i]!);
    else ranksOf.set(text, [members[i]!]);
  }
  const shown = [...ranksOf].slice(0, mostSides).map(([text, ranks]) => `${text} on ${ranksAndHosts(ranks, hostOf)}`);
  const others = [...ranksOf].slice(mostSides).flatMap(([, ranks]) => ranks);
  return [...shown, ...(others.length > 0 ? [`something else on rank ${listed(others)}`] : [])].join(', but ');
}
