/** What a job of a sweep tells the sweep's process, over Node's channel between them: its whole protocol. When the channel closes, the job ends. */

/** The first word of such a job's command line; nobody writes it by hand. */
export const RUN_OF_SWEEP = 'run-of-sweep';

export type RunMessage =
  /** As the rank reported it: JSON. */
  | { readonly kind: 'report'; readonly rank: number; readonly json: string }
  /** The last one. `lines`: what tsrun says of the end, the verdict at the very end; none where all went well. */
  | { readonly kind: 'end'; readonly exitCode: number; readonly lines: readonly string[] };
