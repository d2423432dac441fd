// What the page knows about the realm: who it is, its agents and its sessions.

const POLL = 4_000;
const PAGE = 50;

export class Realm {
  constructor(api, onChange) {
    this.api = api;
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
    this.poll = this.poll.bind(this);
  }

  async start() {
    document.addEventListener("visibilitychange", this.poll);
    try {
      this.me = await this.api.get("/v1/me");
      this.onChange();
    } catch (error) {
      // A key that does not work has been told; anything else is asked again by what follows.
      if (error.status === 401) return;
    }
    if (this.stopped) return;
    this.loadAgents();
    await this.poll();
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.poll);
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
      // The next poll that meets an unknown agent asks again.
    }
    this.onChange();
  }

  agentName(id) {
    return this.agents.get(id)?.name ?? id;
  }

  async poll() {
    clearTimeout(this.timer);
    if (this.stopped || document.hidden) return;
    await this.refresh();
    if (!this.stopped && !document.hidden) {
      clearTimeout(this.timer);
      this.timer = setTimeout(this.poll, this.error ? POLL * 3 : POLL);
    }
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
    this.poll();
  }

  /** Something is newer here than in the list. */
  put(session) {
    const at = this.sessions.findIndex(({ id }) => id === session.id);
    if (at >= 0) this.sessions = this.sessions.with(at, { ...this.sessions[at], ...session });
    else if (session.createdAt && (!this.agentId || this.agentId === session.agentId)) {
      this.sessions = [session, ...this.sessions];
      this.generation += 1;
      // An answer on its way may not know it: it does not count, and another is asked for.
      clearTimeout(this.timer);
      this.timer = setTimeout(this.poll, 0);
    }
    this.onChange();
  }
}
