// One session's events, followed live.
//
// Event numbers have no gap: one that is known already is dropped, and one too far on means something
// was lost, so the session is followed again behind the last known number.

import { session } from "./api.js";

export class SessionStream {
  /**
   * `timeline` takes the events and knows `lastSeq`; `onStatus` hears
   * { state: "connecting" | "live" | "reconnecting" | "ended" | "failed", at?, error? }.
   */
  constructor(api, follow, id, timeline, onStatus) {
    this.api = api;
    this.follow = follow;
    this.id = id;
    this.timeline = timeline;
    this.onStatus = onStatus;
    this.stopped = false;
    this.status = { state: "connecting" };
    this.taken = Promise.resolve();
  }

  start() {
    this.leave?.();
    this.leave = this.follow.topic(`session:${this.id}`, {
      after: () => this.timeline.lastSeq,
      subscribed: () => this.tell({ state: "live" }),
      events: (frame) => this.take(frame.events),
      live: (frame) => {
        this.taken = this.taken.then(() => this.stopped || this.timeline.live(frame.event));
      },
      lost: (at) => this.lost(at),
      failed: (error) => this.tell({ state: "failed", error }),
    });
  }

  stop() {
    this.stopped = true;
    this.leave?.();
  }

  /** Try again now, if it waits to. */
  retry() {
    this.follow.retry();
  }

  tell(status) {
    if (this.stopped) return;
    this.status = status;
    this.onStatus(status);
  }

  lost(at) {
    if (this.timeline.closed) {
      this.leave();
      this.tell({ state: "ended" });
      return;
    }
    this.timeline.interrupted();
    this.tell({ state: "reconnecting", at });
  }

  /** One frame after the other: of what was too large for a frame, the rest is asked for. */
  take(events) {
    this.taken = this.taken
      .then(async () => {
        for (let event of events) {
          const { seq } = event;
          if (this.stopped || seq <= this.timeline.lastSeq) continue;
          if (seq > this.timeline.lastSeq + 1) throw new Error("an event is missing");
          if (event.truncated) {
            const page = await this.api.get(`${session(this.id)}/events`, { after: seq - 1, limit: 1 });
            event = page.items[0];
          }
          this.timeline.durable(event, seq);
        }
      })
      .catch(() => this.stopped || this.start());
  }
}
