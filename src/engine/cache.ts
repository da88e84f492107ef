/** The rank's side of the response cache: which of its own calls the coordinator remembers, under which id. Pure. */
import { type Call, isSameCall } from './call';

export class RequestCache {
  private readonly calls = new Map<number, Call>();
  private readonly ids = new Map<string, number>();

  lookup(call: Call): number | undefined {
    const id = this.ids.get(call.name);
    return id !== undefined && isSameCall(this.calls.get(id)!, call) ? id : undefined;
  }
  remember(id: number, call: Call): void {
    this.calls.set(id, call);
    this.ids.set(call.name, id);
  }
  evict(ids: readonly number[]): void {
    for (const id of ids) {
      const call = this.calls.get(id);
      this.calls.delete(id);
      if (call && this.ids.get(call.name) === id) this.ids.delete(call.name);
    }
  }
  callOf(id: number): Call | undefined {
    return this.calls.get(id);
  }
}
