/** What every backend must do: train models of every kind as another one does, and leave the ending of a process to its program. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Test } from 'tap';
import type { Project } from './backend_project';
import { largestDifference } from './small_network';
import { runJob } from './tsrun';

interface Outcome {
  readonly device: string;
  readonly results: Readonly<Record<string, { readonly fitted: number[]; readonly tensors: number[] }>>;
}

interface Training {
  readonly backend: string;
  /** What it runs on. */
  readonly device: RegExp;
  /** The backend that is right. */
  readonly expected: string;
  readonly limitMs: number;
  /** Words for tsrun. */
  readonly options?: readonly string[];
}

/** Two ranks train on both (workers/trains_models). */
export async function trainsAlike(
  t: Test,
  { folder, env, program }: Project,
  { backend, device, expected, limitMs, options = [] }: Training,
): Promise<void> {
  const train = async (name: string): Promise<Outcome[]> => {
    const words = ['-np', '2', ...options, program('workers/trains_models'), name, folder];
    const { status, err, left } = await runJob(words, { env }, limitMs);
    t.equal(status, 0, err.slice(-2000));
    t.same(left, [], `${name}: no process is left`);
    return [0, 1].map((rank) => JSON.parse(readFileSync(path.join(folder, `${name}.${rank}.json`), 'utf8')));
  };
  const [right] = await train(expected);
  const [first, second] = await train(backend);
  t.match(first!.device, device);
  t.same(Object.keys(first!.results), ['loop', 'mlp', 'cnn', 'residual', 'depthwise', 'lstm', 'embedding']);
  for (const [model, { fitted, tensors }] of Object.entries(first!.results)) {
    const { fitted: wanted } = right!.results[model]!;
    t.equal(fitted.length, wanted.length, `${model}: as many weights`);
    const furthest = largestDifference(fitted, wanted);
    t.ok(furthest < 1e-4, `${model}: ${furthest} from ${expected}`);
    t.same(second!.results[model]!.fitted, fitted, `${model}: the ranks are alike to the bit`);
    t.equal(tensors[1], tensors[0], `${model}: as many tensors as before`);
  }
}

const usualWays = [
  ['naturally', 0],
  ['exit', 3],
  ['exit in a handler', 4],
  ['exit while the device works', 5],
  ['a timer that reads', 6],
  ['an awaited read', 7],
  ['a rejection', 1],
] as const;

/** With its own exit code, and nothing left (workers/ends_on_backend). @param more ways that this backend alone has */
export async function endsAsItsProgramSays(
  t: Test,
  { env, program }: Project,
  backend: string,
  more: ReadonlyArray<readonly [way: string, code: number]> = [],
): Promise<void> {
  for (const [way, code] of [...usualWays, ...more]) {
    const { status, err, left } = await runJob(['-np', '1', program('workers/ends_on_backend'), backend, way], { env });
    t.equal(status, code, `${way}: ${err.slice(-1000)}`);
    t.same(left, [], way);
  }
}
