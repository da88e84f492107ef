/**
 * What a rank has to do with parameter servers: it is a worker of theirs and, where no servers were started, serves a share itself. Communication thread.
 *
 * A rank serves from its own first optimizer on, until all workers of what it serves have left: it may leave the job before them, but not the others' training.
 */
import type { Config } from '../config';
import { type HvdError, ShutdownError } from '../errors';
import type { Kernels } from '../memory/kernels';
import { ServerClient, type ServerSubmission } from '../parameter_server/client';
import { ParameterServer } from '../parameter_server/server';
import type { Boundary } from './boundary';
import type { FromThread } from './messages';
import { stallLimitsOf } from './server_links';
import type { Session } from './session';
import type { TimelineRecorder } from './timeline_recorder';

export class ServerTraining {
  private readonly client: ServerClient;
  private server?: ParameterServer;
  private failure?: HvdError;
  private timeline?: TimelineRecorder;
  private onServed?: () => void;

  constructor(
    private readonly config: Config,
    private readonly session: Session,
    memory: WebAssembly.Memory,
    kernels: Kernels,
    boundary: Boundary,
    tell: (message: FromThread) => void,
    private readonly whenFailed: (error: Error) => void,
  ) {
    const { pushes, pulls, servers } = session.servers;
    this.client = new ServerClient({
      pushes,
      pulls,
      servers,
      memory,
      kernels,
      complete: ({ id, slot, request }, { error, steps }) => {
        this.timeline?.answered(id);
        if (error || steps !== undefined) tell({ kind: 'record', id, error, steps });
        boundary.complete(slot, error || steps !== undefined ? 'told' : 'done');
        // Nobody waits for it.
        if (request.kind === 'close') tell({ kind: 'done', ids: [id] });
      },
      fail: (error) => this.fail(error),
    });
  }

  /** From now on; undefined: no longer. */
  record(timeline: TimelineRecorder | undefined): void {
    this.timeline = timeline;
  }

  submit(submission: ServerSubmission): void {
    this.timeline?.served(submission.id);
    const { request } = submission;
    if (this.session.servers.isColocated && request.kind === 'open') this.serve(request.spec.workers);
    this.client.submit(submission);
  }

  /** One beat. */
  beat(): void {
    if (this.failure) return;
    this.session.servers.tick();
    this.server?.inspectStalls(performance.now());
  }

  hearDeparture(rank: number): void {
    this.server?.depart(rank);
    if (!this.server?.isServing) this.onServed?.();
  }

  abort(failure: HvdError): void {
    if (this.failure) return;
    this.failure = failure;
    this.client.abort(failure);
    this.session.servers.abort(failure);
    this.onServed?.();
  }

  /** Whether others still train with what this rank serves, which itself is done. */
  get isServing(): boolean {
    this.server?.depart(this.config.rank);
    return !this.failure && this.server?.isServing === true;
  }
  async served(): Promise<void> {
    if (this.isServing)
      await new Promise<void>((resolve) => {
        this.onServed = resolve;
      });
  }

  private fail(error: Error): void {
    // When the job is over its links close.
    if (!this.failure && !(error instanceof ShutdownError)) this.whenFailed(error);
  }

  private serve(workers: readonly number[]): void {
    const { pushes, pulls } = this.session.servers;
    this.server ??= new ParameterServer({
      pushes,
      pulls,
      nameOf: (worker) => `rank ${worker} on host ${this.session.hostOf(worker)}`,
      ...stallLimitsOf(this.config),
      lose: (_worker, error) => this.fail(error),
    });
    for (const worker of workers) this.server.attach(worker);
    for (const worker of this.session.control.departed) this.server.depart(worker);
  }
}
