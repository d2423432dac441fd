// What happens in the realm, as it happens: one WebSocket for everything the page follows.
//
// A ticket opens it; then each topic is subscribed to behind the cursor its follower is at. Whatever
// ends the connection, it is opened again and each topic goes on behind its cursor: nothing is lost and
// nothing comes twice.

// The server answers pings; silence means that the connection is dead.
const PING = 20_000;
const SILENCE = 60_000;
const FIRST_WAIT = 400;
const LONGEST_WAIT = 20_000;

export class Follow {
  constructor(api) {
    this.api = api;
    this.followers = new Map();
    this.attempt = 0;
    this.retry = this.retry.bind(this);
    addEventListener("online", this.retry);
  }

  /**
   * Follows a topic until the answer is called. `follower` has `after()`, the cursor to go on behind or
   * undefined for what comes from now on, and hears `subscribed(frame)`, `events(frame)`, `live(frame)`,
   * `lost(at)` and `failed(error)`.
   */
  topic(topic, follower) {
    this.followers.set(topic, follower);
    if (this.open) this.subscribe(topic, follower);
    else this.run();
    return () => {
      if (this.followers.get(topic) !== follower) return;
      this.followers.delete(topic);
      if (this.open) this.say({ type: "unsubscribe", topic });
    };
  }

  stop() {
    this.stopped = true;
    removeEventListener("online", this.retry);
    this.followers.clear();
    this.socket?.close();
    this.wake?.();
  }

  /** Try again now, if it waits to. */
  retry() {
    this.wake?.();
  }

  tell(what, ...said) {
    for (const follower of [...this.followers.values()]) follower[what](...said);
  }

  async run() {
    if (this.running) return;
    this.running = true;
    while (!this.stopped && this.followers.size) {
      let wait = 0;
      try {
        await this.connect();
      } catch (error) {
        if (this.stopped) break;
        if ([400, 401, 403, 404].includes(error.status)) {
          this.tell("failed", error);
          this.followers.clear();
          break;
        }
        wait = (error.retryAfter ?? 0) * 1000;
      }
      if (this.stopped) break;
      const backoff = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.attempt);
      wait = Math.max(wait, backoff * (0.5 + Math.random() / 2));
      this.attempt += 1;
      this.tell("lost", Date.now() + wait);
      await new Promise((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, wait);
      });
      this.wake = null;
    }
    this.running = false;
  }

  /** Holds one connection until it ends. */
  async connect() {
    const { ticket } = await this.api.post("/v1/stream/tickets");
    if (this.stopped) return;
    // The page is served where streams are opened, also where somebody stands in between.
    const address = new URL("/v1/stream", location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    address.searchParams.set("ticket", ticket);
    await new Promise((ended) => {
      const socket = new WebSocket(address);
      this.socket = socket;
      let silence;
      const alive = () => {
        clearTimeout(silence);
        silence = setTimeout(() => socket.close(), SILENCE);
      };
      const pings = setInterval(() => this.open && this.say({ type: "ping" }), PING);
      alive();
      socket.onopen = () => {
        this.open = true;
        for (const [topic, follower] of this.followers) this.subscribe(topic, follower);
      };
      socket.onmessage = ({ data }) => {
        alive();
        this.take(JSON.parse(data));
      };
      // An error is followed by the end.
      socket.onclose = () => {
        clearTimeout(silence);
        clearInterval(pings);
        this.open = false;
        ended();
      };
    });
  }

  subscribe(topic, follower) {
    this.say({ type: "subscribe", topic, after: follower.after(), live: Boolean(follower.live) });
  }

  say(frame) {
    this.socket.send(JSON.stringify(frame));
  }

  take(frame) {
    const follower = this.followers.get(frame.topic);
    if (!follower) return;
    switch (frame.type) {
      case "subscribed":
        this.attempt = 0;
        follower.subscribed(frame);
        break;
      case "events":
        follower.events(frame);
        break;
      case "live":
        follower.live?.(frame);
        break;
      case "unsubscribed":
        // The past was long: the rest is behind what came. It may also be the end of one before.
        if (frame.cursor !== undefined) this.subscribe(frame.topic, follower);
        break;
      case "problem":
        this.followers.delete(frame.topic);
        follower.failed(Object.assign(new Error(frame.problem.detail), frame.problem));
        break;
    }
  }
}
