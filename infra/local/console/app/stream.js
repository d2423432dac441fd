// One session's events, followed live.
//
// EventSource cannot send an Authorization header, so this is SSE over fetch. Event numbers have
// no gap: one that is known already is dropped, and one too far on means something was lost, so
// the stream is taken up again behind the last known number.

import { createParser } from "../vendor/eventsource-parser/index.js";
import { session } from "./api.js";

// The server's heartbeats are more frequent than this; silence means the connection is dead.
const SILENCE = 60_000;
const FIRST_WAIT = 400;
const LONGEST_WAIT = 20_000;

export class SessionStream {
  /**
   * `timeline` takes the events and knows `lastSeq`; `onStatus` hears
   * { state: "connecting" | "live" | "reconnecting" | "ended" | "failed", at?, error? }.
   */
  constructor(api, id, timeline, onStatus) {
    this.api = api;
    this.id = id;
    this.timeline = timeline;
    this.onStatus = onStatus;
    this.stopped = false;
    this.attempt = 0;
    this.wake = null;
    this.retry = this.retry.bind(this);
    this.status = { state: "connecting" };
  }

  start() {
    addEventListener("online", this.retry);
    this.follow();
  }

  stop() {
    this.stopped = true;
    removeEventListener("online", this.retry);
    this.connection?.abort();
    this.wake?.();
  }

  /** Try again now, if it waits to. */
  retry() {
    this.wake?.();
  }

  tell(status) {
    if (this.stopped) return;
    this.status = status;
    this.onStatus(status);
  }

  async follow() {
    while (!this.stopped) {
      let wait;
      try {
        await this.connect();
        // The server closed it in good order: it may do so at any time, to be asked again.
      } catch (error) {
        if (this.stopped) return;
        if ([400, 401, 403, 404, 406].includes(error.status)) {
          this.tell({ state: "failed", error });
          return;
        }
        wait = (error.retryAfter ?? 0) * 1000;
      }
      if (this.stopped) return;
      if (this.timeline.closed) {
        this.tell({ state: "ended" });
        return;
      }
      const backoff = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.attempt);
      wait = Math.max(wait ?? 0, backoff * (0.5 + Math.random() / 2));
      this.attempt += 1;
      this.timeline.interrupted();
      this.tell({ state: "reconnecting", at: Date.now() + wait });
      await new Promise((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, wait);
      });
      this.wake = null;
    }
  }

  async connect() {
    const connection = new AbortController();
    this.connection = connection;
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => connection.abort(), SILENCE);
    };
    let gap = false;
    const parser = createParser({
      maxBufferSize: 64 * 1024 * 1024,
      onEvent: (message) => {
        gap ||= !this.take(message);
      },
    });
    try {
      alive();
      const response = await this.api.fetch(
        `${session(this.id)}/events?after=${this.timeline.lastSeq}`,
        { headers: { accept: "text/event-stream" }, signal: connection.signal },
      );
      this.tell({ state: "live" });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || this.stopped) return;
        alive();
        parser.feed(value);
        if (gap) throw new Error("an event is missing");
      }
    } finally {
      clearTimeout(timer);
      connection.abort();
    }
  }

  /** False where an event before this one is missing. */
  take(message) {
    let event;
    try {
      event = JSON.parse(message.data);
    } catch {
      return true;
    }
    if (event === null || typeof event !== "object") return true;
    event.type ??= message.event;
    if (message.id === undefined) {
      this.attempt = 0;
      this.timeline.live(event);
      return true;
    }
    const seq = Number(event.seq ?? message.id);
    if (!Number.isSafeInteger(seq) || seq <= this.timeline.lastSeq) return true;
    if (seq > this.timeline.lastSeq + 1) return false;
    this.attempt = 0;
    this.timeline.durable(event, seq);
    return true;
  }
}
