/**
 * A collective that is under way on this rank. Main thread.
 *
 * Its result is made once: when somebody waits for it. When the communication thread says that it is done and nobody does, or when its name is used again, what it held is freed, and what the result
 * needs is kept. While it is awaited it keeps the process alive.
 */
import type { Engine, Outcome, Pending } from './engine/engine';

/**
 * A collective that is under way. Can be awaited, polled (`poll`), or waited for synchronously (`synchronize`). While it is awaited it keeps the process alive.
 *
 * Tensors in its result are made where it is first asked for: a `tf.tidy` around that `synchronize` frees them, as it frees any tensor; else, and after `await`, whoever has them disposes of them. One that
 * nobody asks makes none.
 */
export interface Handle<R> extends Pick<Promise<R>, 'then' | 'catch' | 'finally'> {
  /** The name under which the ranks meet. */
  readonly name: string;
}

export class PendingHandle<R> implements Handle<R> {
  /** Once it is settled: gives the result, or throws. */
  private take?: () => R;
  private promise?: Promise<R>;
  private wake?: () => void;

  constructor(
    readonly name: string,
    private readonly engine: Engine,
    private readonly pending: Pending,
    /** Frees what the call held (throws the call's error) and gives what makes the result; now, if it is asked for. */
    private readonly finish: (outcome: Outcome, isAsked: boolean) => () => R,
  ) {
    pending.onDone = () => this.onDone();
  }

  get isDone(): boolean {
    return this.take !== undefined || this.engine.isDone(this.pending);
  }

  synchronize(): R {
    if (!this.take) this.settle(true);
    const result = this.take!();
    this.take = () => result;
    return result;
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

  /** Frees what it held, whether or not anybody asks for its result; waits, if it is not done. */
  settle(isAsked = false): void {
    if (this.take) return;
    const outcome = this.engine.wait(this.pending);
    try {
      this.take = this.finish(outcome, isAsked);
    } catch (error) {
      this.take = () => {
        throw error;
      };
    }
    this.wakeUp();
  }

  /** Who awaits it settles it, in the next moment. */
  private onDone(): void {
    if (this.wake) this.wakeUp();
    else this.settle();
  }

  private wakeUp(): void {
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
