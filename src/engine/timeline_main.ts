/** The main thread's part of a timeline: says when it copies, blocks, goes on. Main thread; one a timeline. */
import { EventRing } from './boundary';
import { nowUs } from './clock';
import { mainEvents } from './timeline';

export class MainRecorder {
  readonly ring = new EventRing();
  readonly nowUs = nowUs;

  /** @param number of the timeline, from 1 on */
  constructor(readonly number: number) {}

  /** @param fromUs undefined: nothing was copied */
  submitted(id: number, fromUs: number | undefined, untilUs: number): void {
    if (fromUs !== undefined) this.ring.put(mainEvents.copiedIn, fromUs, untilUs, id);
    this.ring.put(mainEvents.submitted, untilUs, untilUs, id);
  }
  blocked(id: number): void {
    const us = nowUs();
    this.ring.put(mainEvents.blocked, us, us, id);
  }
  resumed(id: number): void {
    const us = nowUs();
    this.ring.put(mainEvents.resumed, us, us, id);
  }
  /** The result has been made, from then until now. @param isCopied it was copied out */
  settled(id: number, fromUs: number, isCopied: boolean): void {
    this.ring.put(mainEvents.settled, fromUs, isCopied ? nowUs() : fromUs, id);
  }
  /** What no call of its own settles: an optimizer takes its gradients out of what they were reduced in. */
  copiedOut(fromUs: number): void {
    this.ring.put(mainEvents.copiedOut, fromUs, nowUs(), 0);
  }
  /** An optimizer has made a step. */
  step(): void {
    const us = nowUs();
    this.ring.put(mainEvents.step, us, us, 0);
  }
}
