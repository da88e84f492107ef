/** The command line of `tsrun bench allreduce --compare`, as tsrun hands it on. Pure. */
import { parseArgs } from 'node:util';
import { UsageError } from '../errors';
import { type CollectiveArgs, checkedArgs, collectiveOptions, oneOf, wholeNumber } from './collective_args';
import { type PeerName, peerDtypes, peerNames, peerOps } from './peers/peer';

export interface CompareArgs {
  /** What is measured of all. */
  readonly measured: CollectiveArgs;
  /** The words of it, for khorovod's own benchmark. */
  readonly words: readonly string[];
  readonly peers: readonly PeerName[];
  readonly rounds: number;
  readonly ranks: number;
  /** undefined: no files. */
  readonly out?: string;
  readonly tsrun: string;
  /** Options of tsrun itself. */
  readonly tsrunWords: readonly string[];
}

const options = {
  ...collectiveOptions,
  compare: { type: 'string' },
  rounds: { type: 'string' },
  out: { type: 'string' },
  np: { type: 'string' },
  tsrun: { type: 'string' },
} as const;
/** Those that khorovod's benchmark gets. */
const handedOn = ['sizes', 'dtype', 'op', 'iterations', 'compression', 'tensors'] as const;

/** @throws UsageError what was given, and what is allowed */
export function readCompareArgs(args: readonly string[]): CompareArgs {
  const border = args.indexOf('--');
  const { values, positionals } = parseArgs({ args: args.slice(0, border), options, allowPositionals: true });
  const [collective = ''] = positionals;
  const measured = checkedArgs(collective, values);
  if (collective !== 'allreduce')
    throw new UsageError(`--compare: the other libraries' programs measure allreduce only, no ${collective}.`);
  const { dtype, op, order, compression } = measured;
  if (!peerDtypes.includes(dtype)) throw new UsageError(`--compare: all have ${peerDtypes.join(', ')}, but --dtype is ${dtype}.`);
  if (!peerOps.includes(op!)) throw new UsageError(`--compare: all have ${peerOps.join(', ')}, but --op is ${op}.`);
  if (order !== 'single') throw new UsageError('--compare: one call at a time is compared. Leave --in-order and --out-of-order out.');
  if (compression !== 'none') throw new UsageError('--compare: what is compared sends the same bytes. Leave --compression out.');
  const words = handedOn.flatMap((name) =>
    values[name] === undefined ? [] : [values[name] === true ? `--${name}` : `--${name}=${values[name]}`],
  );
  return {
    measured,
    words: [collective, ...words],
    peers: [...new Set((values.compare ?? '').split(',').map((name) => oneOf('--compare', name.trim(), peerNames)))],
    rounds: wholeNumber('--rounds', values.rounds ?? '3'),
    ranks: wholeNumber('--np', values.np ?? ''),
    out: values.out,
    tsrun: values.tsrun ?? '',
    tsrunWords: args.slice(border + 1),
  };
}
