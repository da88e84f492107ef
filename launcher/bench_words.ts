/** Tells the words of `tsrun bench` apart: the collective, the benchmark's own options, tsrun's. Pure; what the values may be, the benchmark says (src/bench/collective_args.ts). */
import { LaunchError } from './errors';

export const collectives = ['allreduce', 'grouped-allreduce', 'allgather', 'broadcast', 'reducescatter', 'alltoall', 'barrier'];
/** Whether one has a value; the others are switches. */
export const benchOptions: Readonly<Record<string, boolean>> = {
  sizes: true,
  dtype: true,
  op: true,
  'in-order': false,
  'out-of-order': false,
  parts: true,
  iterations: true,
  compression: true,
  tensors: false,
  json: true,
  compare: true,
  rounds: true,
  out: true,
};

export interface BenchWords {
  /** undefined: none stands there. */
  readonly collective?: string;
  readonly own: readonly string[];
  /** As `--name=value`. */
  readonly ofBench: readonly string[];
  readonly isComparison: boolean;
}

/** @throws LaunchError a word in the collective's place that is none; an option without its value */
export function splitBench(words: readonly string[]): BenchWords {
  const [first] = words;
  const collective = first === undefined || first.startsWith('-') ? undefined : first;
  if (collective !== undefined && !collectives.includes(collective))
    throw new LaunchError(`tsrun bench '${collective}': there is bench ${collectives.join(', ')}`);
  const { own, ofBench } = takeOptions(collective === undefined ? words : words.slice(1), benchOptions);
  const isComparison = ofBench.some((word) => word.startsWith('--compare='));
  const alone = ofBench.find((word) => /^--(rounds|out)=/.test(word));
  if (alone !== undefined && !isComparison) throw new LaunchError(`${alone.split('=')[0]} is of comparisons: say --compare too`);
  return { collective, own, ofBench, isComparison };
}

/** Of `tsrun bench --calibrate FILE`. @throws LaunchError an option without its value */
export function splitCalibrate(words: readonly string[]): Pick<BenchWords, 'own' | 'ofBench'> {
  const split = takeOptions(words, { calibrate: true, iterations: true });
  const empty = split.ofBench.find((word) => word.endsWith('='));
  if (empty !== undefined) throw new LaunchError(`${empty.slice(0, -1)} needs a value`);
  return split;
}

/** @param options whether each has a value */
function takeOptions(words: readonly string[], options: Readonly<Record<string, boolean>>): { own: string[]; ofBench: string[] } {
  const own: string[] = [];
  const ofBench: string[] = [];
  for (let i = 0; i < words.length; i += 1) {
    const word = words[i]!;
    const [name = '', inline] = word.replace(/^--/, '').split('=', 2);
    if (!word.startsWith('--') || !(name in options)) own.push(word);
    else if (inline !== undefined || !options[name]) ofBench.push(word);
    else if (words[i + 1] === undefined) throw new LaunchError(`--${name} needs a value`);
    else ofBench.push(`--${name}=${words[(i += 1)]}`);
  }
  return { own, ofBench };
}
