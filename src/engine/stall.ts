/** Which calls some ranks do not submit. Pure. */
import type { HvdError } from '../errors';

export class StallInspector {
  constructor(_options: { warnAfterMs: number; failAfterMs: number }) {}
  inspect(_waiting: unknown, _nowMs: number, _hostOf: (rank: number) => string): { warnings: string[]; failures: HvdError[] } {
    return { warnings: [], failures: [] };
  }
}
