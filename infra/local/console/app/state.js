// What the page knows about the realm: who it is, its agents and its sessions.

// However much happens, the list is asked for no more often than this.
const PACE = 300;
// How long after it could not be had.
const AGAIN = 5_000;
const PAGE = 50;

export class Realm {
  constructor(api, follow, onChange) {
    this.api = api;
    this.follow = follow;
    this.onChange = onChange;
    this.me = null;
    this.agents = new Map();
    this.agentsComplete = false;
    this.sessions = [];
    this.cursor = null;
    this.pages = 0;
    this.agentId = "";
    this.loading = false;
    this.error = null;
    this.generation = 0;
    this.soon = this.soon.bind(this);
  }

  async start() {
    // Who looks again may have missed what no event tells.
    document.addEventListener("visibilitychange", this.soon);
    try {
      this.me = await this.api.get("/v1/me");
      this.onChange();
    } catch (error) {
      // A key that does not work has been told; anything else is asked again by what follows.
      if (error.status === 401) return;
    }
    if (this.stopped) return;
    this.loadAgents();
    this.leave = this.follow.topic("realm", {
      after: () => this.position,
      subscribed: ({ cursor }) => {
        this.position = Math.max(this.position ?? 0, cursor);
        this.soon();
      },
      events: ({ cursor }) => {
        this.position = cursor;
        this.soon();
      },
      lost: () => {},
      failed: (error) => {
        this.error = error;
        this.onChange();
      },
    });
    await this.refresh();
  }

  stop() {
    this.stopped = true;
    this.leave?.();
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.soon);
  }

  may(scope) {
    // Until it is known, the server decides; it decides anyway.
    return !this.me || this.me.scopes.includes(scope);
  }

  async loadAgents() {
    try {
      let cursor = null;
      for (let page = 0; page < 20; page += 1) {
        const list = await this.api.get("/v1/agents", { limit: PAGE, cursor });
        for (const agent of list.items) this.agents.set(agent.id, agent);
        cursor = list.nextCursor;
        if (!cursor) break;
      }
      this.agentsComplete = true;
    } catch {
      // The next list that names an unknown agent asks again.
    }
    this.onChange();
  }

  agentName(id) {
    return this.agents.get(id)?.name ?? id;
  }

  /** The list is old: asks for it again, once for all that happens meanwhile. */
  soon(wait = PACE) {
    if (this.timer) this.again = true;
    if (this.stopped || document.hidden || this.timer) return;
    this.timer = setTimeout(async () => {
      await this.refresh();
      this.timer = null;
      if (this.error || this.again) this.soon(this.error ? AGAIN : PACE);
      this.again = false;
    }, Number.isFinite(wait) ? wait : PACE);
  }

  /** The first page again, over what is known. */
  async refresh() {
    const generation = this.generation;
    const before = this.error;
    try {
      const list = await this.api.get("/v1/sessions", { limit: PAGE, agentId: this.agentId });
      if (this.stopped || generation !== this.generation) return;
      const fresh = new Set(list.items.map((session) => session.id));
      const older = this.pages > 1 && list.nextCursor ? this.sessions.filter(({ id }) => !fresh.has(id)) : [];
      if (this.pages <= 1 || !list.nextCursor) {
        this.cursor = list.nextCursor;
        this.pages = 1;
      }
      const next = [...list.items, ...older];
      const same = this.pages > 0 && this.known && JSON.stringify(next) === JSON.stringify(this.sessions);
      this.sessions = next;
      this.error = null;
      const strange = next.some(({ agentId }) => !this.agents.has(agentId));
      if (strange && this.agentsComplete) {
        this.agentsComplete = false;
        this.loadAgents();
      }
      if (same && !before) return;
      this.known = true;
    } catch (error) {
      if (this.stopped || generation !== this.generation) return;
      this.error = error;
    }
    this.onChange();
  }

  async more() {
    if (!this.cursor || this.loading) return;
    const generation = this.generation;
    this.loading = true;
    this.onChange();
    try {
      const list = await this.api.get("/v1/sessions", { limit: PAGE, agentId: this.agentId, cursor: this.cursor });
      if (generation === this.generation) {
        const known = new Set(this.sessions.map(({ id }) => id));
        this.sessions = [...this.sessions, ...list.items.filter(({ id }) => !known.has(id))];
        this.cursor = list.nextCursor;
        this.pages += 1;
      }
    } catch (error) {
      this.error = error;
    }
    this.loading = false;
    this.onChange();
  }

  filter(agentId) {
    this.agentId = agentId;
    this.generation += 1;
    this.sessions = [];
    this.cursor = null;
    this.pages = 0;
    this.known = false;
    this.onChange();
    this.refresh();
  }

  /** Something is newer here than in the list. */
  put(session) {
    const at = this.sessions.findIndex(({ id }) => id === session.id);
    if (at >= 0) this.sessions = this.sessions.with(at, { ...this.sessions[at], ...session });
    else if (session.createdAt && (!this.agentId || this.agentId === session.agentId)) {
      this.sessions = [session, ...this.sessions];
      this.generation += 1;
      // An answer on its way may not know it: it does not count, and another is asked for.
      this.soon();
    }
    this.onChange();
  }
}
