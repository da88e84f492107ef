/**
 * A collective that is under way on this rank. Main thread.
 *
 * Its result is made once: when the communication thread says it is done, or earlier by whoever waits for it. While it is awaited it keeps the process alive.
 */
import type { Engine, Outcome, Pending } from './engine/engine';

/** A collective that is under way. Can be awaited, polled (`poll`), or waited for synchronously (`synchronize`). While it is awaited it keeps the process alive. */
export interface Handle<R> extends Pick<Promise<R>, 'then' | 'catch' | 'finally'> {
  /** The name under which the ranks meet. */
  readonly name: string;
}

type Settled<R> = { value: R } | { error: unknown };

export class PendingHandle<R> implements Handle<R> {
  private settled?: Settled<R>;
  private promise?: Promise<R>;
  private wake?: () => void;

  constructor(
    readonly name: string,
    private readonly engine: Engine,
    private readonly pending: Pending,
    /** Makes the result (throws the call's error) and frees what the call held. */
    private readonly finish: (outcome: Outcome) => R,
  ) {
    pending.onDone = () => this.settle();
  }

  get isDone(): boolean {
    return this.settled !== undefined || this.engine.isDone(this.pending);
  }

  synchronize(): R {
    if (!this.settled) this.settleWith(this.engine.wait(this.pending));
    const settled = this.settled!;
    if ('error' in settled) throw settled.error;
    return settled.value;
  }

  // biome-ignore lint/suspicious/noThenProperty: a handle is awaited like a promise; the promise itself is made only when somebody asks.
  then<A = R, B = never>(
    onValue?: ((value: R) => A | PromiseLike<A>) | null,
    onError?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.toPromise().then(onValue, onError);
  }
  catch<B = never>(onError?: ((error: unknown) => B | PromiseLike<B>) | null): Promise<R | B> {
    return this.toPromise().catch(onError);
  }
  finally(onEnd?: (() => void) | null): Promise<R> {
    return this.toPromise().finally(onEnd);
  }

  private toPromise(): Promise<R> {
    this.promise ??= new Promise<void>((resolve) => {
      if (this.isDone) {
        resolve();
        return;
      }
      this.engine.holdProcess();
      this.wake = () => {
        this.engine.releaseProcess();
        resolve();
      };
    }).then(() => this.synchronize());
    return this.promise;
  }

  /** Made and freed as soon as it is done, whether or not anybody asks for it. */
  settle(): void {
    if (!this.settled) this.settleWith(this.engine.wait(this.pending));
  }

  private settleWith(outcome: Outcome): void {
    try {
      this.settled = { value: this.finish(outcome) };
    } catch (error) {
      this.settled = { error };
    }
    this.wake?.();
    this.wake = undefined;
  }
}

/** A handle of something that needs no communication. */
export function completedHandle<R>(name: string, value: R): Handle<R> {
  const promise = Promise.resolve(value);
  const handle = {
    name,
    // biome-ignore lint/suspicious/noThenProperty: as above, a handle is awaited like a promise.
    then: promise.then.bind(promise),
    catch: promise.catch.bind(promise),
    finally: promise.finally.bind(promise),
  } as Handle<R>;
  completed.set(handle, value);
  return handle;
}
export const completed = new WeakMap<object, unknown>();
