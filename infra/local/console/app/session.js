// One session, live: its head, its timeline and the composer.

import { intent, session as at } from "./api.js";
import { Ask } from "./asks.js";
import { count, sessionState, words } from "./format.js";
import { Failure } from "./new-session.js";
import { Block } from "./rows.js";
import { SessionStream } from "./stream.js";
import { Timeline, terminal } from "./timeline.js";
import { Component, html } from "./ui.js";

/** How many blocks of history are drawn at once; the last ones first. */
const STRIDE = 3;
const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 16));

/** What was typed and not sent, by session. */
const drafts = new Map();

export class SessionView extends Component {
  constructor(props) {
    super(props);
    this.state = {};
    this.session = props.realm.sessions.find(({ id }) => id === props.id) ?? null;
    this.status = { state: "connecting" };
    this.usage = new Map();
    /** Runs that wait and whose prompt is not in the timeline yet, by id. */
    this.waiting = new Map();
    this.stick = true;
    this.top = 0;
    /** The first block that is drawn; null while history is still coming. */
    this.from = null;
    /** Ended runs whose token counts have been asked for. */
    this.counted = 0;
    this.draw = this.draw.bind(this);
    this.keys = this.keys.bind(this);
    this.scrolled = this.scrolled.bind(this);
    this.timeline = new Timeline(
      () => this.changed(),
      (text) => (this.says = text),
    );
  }

  componentDidMount() {
    document.addEventListener("keydown", this.keys);
    this.resizes = new ResizeObserver(() => this.pin());
    this.resizes.observe(this.content);
    this.resizes.observe(this.scroller);
    this.open();
  }

  componentWillUnmount() {
    this.gone = true;
    this.stream?.stop();
    this.resizes.disconnect();
    clearTimeout(this.later);
    document.removeEventListener("keydown", this.keys);
  }

  async open() {
    const { api, follow, id, realm } = this.props;
    this.setState({ problem: null });
    try {
      this.session = await api.get(at(id));
    } catch (problem) {
      if (!this.gone) {
        this.setState({ problem });
        if (problem.status === 0 || problem.status >= 500) this.later = setTimeout(() => this.open(), 3000);
      }
      return;
    }
    if (this.gone) return;
    this.timeline.history = this.session.lastSeq;
    realm.put(this.session);
    this.stream = new SessionStream(api, follow, id, this.timeline, (status) => {
      this.status = status;
      this.setState({});
    });
    this.stream.start();
    this.loadRuns();
    this.changed();
  }

  /** Token counts, and the prompts that wait: the events do not tell them. */
  async loadRuns() {
    const { api, id } = this.props;
    let list;
    try {
      list = await api.get(`${at(id)}/runs`, { limit: 50 });
    } catch {
      return;
    }
    if (this.gone) return;
    for (const run of list.items) {
      if (run.usage) {
        this.usage.set(run.id, run.usage);
        const known = this.timeline.run(run.id);
        known.usage = run.usage;
        if (known.row && !known.row.usage) {
          known.row.usage = run.usage;
          this.timeline.touch(known.row);
        }
      }
      if (run.state === "queued" && !this.timeline.run(run.id).prompted) this.waiting.set(run.id, run);
    }
    this.changed();
  }

  get current() {
    return this.timeline.state ?? this.session?.state ?? null;
  }

  get busy() {
    return ["streaming", "cancelling"].includes(this.current);
  }

  /** Draws at most once per frame, however many events come. */
  changed() {
    this.frame ??= requestAnimationFrame(this.draw);
  }

  draw() {
    this.frame = null;
    if (this.gone) return;
    for (const id of this.waiting.keys()) {
      const run = this.timeline.runs.get(id);
      if (run?.prompted || terminal(run?.state)) this.waiting.delete(id);
    }
    if (this.from === null && this.stream && !this.loading) {
      this.from = this.timeline.blocks.length;
      this.earlier();
    }
    const { realm, id } = this.props;
    if (this.timeline.state && this.timeline.state !== this.told) {
      this.told = this.timeline.state;
      realm.put({ id, state: this.told, updatedAt: new Date().toISOString(), queuedRuns: this.waiting.size });
    }
    if (this.timeline.ended !== this.counted) {
      this.counted = this.timeline.ended;
      clearTimeout(this.later);
      this.later = setTimeout(() => this.loadRuns(), 300);
    }
    this.setState({});
  }

  get loading() {
    return this.timeline.lastSeq < this.timeline.history;
  }

  /** Draws the history from its end to its beginning, a little at a time. */
  earlier() {
    if (this.gone) return;
    this.from = Math.max(0, this.from - STRIDE);
    this.setState({});
    if (this.from > 0) idle(() => this.earlier());
  }

  componentDidUpdate() {
    this.pin();
  }

  // Scrolling: it stays at the end unless the reader went up.

  pin() {
    if (!this.stick || !this.scroller) return;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.top = this.scroller.scrollTop;
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const end = scrollHeight - scrollTop - clientHeight < 32;
    const before = this.stick;
    if (end) this.stick = true;
    else if (scrollTop < this.top - 2) this.stick = false;
    this.top = scrollTop;
    if (before !== this.stick) this.setState({});
  }

  keys(event) {
    if (event.key !== "Escape" || event.defaultPrevented || event.isComposing) return;
    if (document.querySelector("dialog[open]")) return;
    if (this.current === "streaming") {
      event.preventDefault();
      this.cancel();
    }
  }

  async act(name, work) {
    if (this.state[name]) return false;
    this.setState({ [name]: true, problem: null });
    try {
      await work();
      return true;
    } catch (problem) {
      if (!this.gone) this.setState({ problem });
      return false;
    } finally {
      if (!this.gone) this.setState({ [name]: false });
    }
  }

  cancel() {
    return this.act("cancelling", () => this.props.api.post(`${at(this.props.id)}/cancel`));
  }

  withdraw(run) {
    return this.act("withdrawing", async () => {
      await this.props.api.post(`/v1/runs/${encodeURIComponent(run.id)}/cancel`);
      this.waiting.delete(run.id);
    });
  }

  answer(row, answer) {
    return this.act("answering", () =>
      this.props.api.post(`/v1/runs/${encodeURIComponent(row.run)}/answer`, { requestId: row.data.requestId, ...answer }));
  }

  close() {
    return this.act("closing", async () => {
      const session = await this.props.api.post(`${at(this.props.id)}/close`);
      if (session?.id === this.props.id) this.session = session;
      this.timeline.state = "completed";
      this.changed();
    });
  }

  send(prompt) {
    if (this.sending?.prompt !== prompt) this.sending = { prompt, key: intent() };
    return this.act("posting", async () => {
      try {
        const run = await this.props.api.post(`${at(this.props.id)}/prompt`, { prompt }, this.sending.key);
        this.sending = null;
        if (run?.id && !this.timeline.run(run.id).prompted) this.waiting.set(run.id, run);
      } catch (problem) {
        // Only an answer that got lost is asked for again with the same key.
        if (problem.status !== 0) this.sending = null;
        throw problem;
      }
      this.stick = true;
      this.changed();
    });
  }

  render({ id, realm, onCreate }, { problem, posting, cancelling, closing, withdrawing, answering }) {
    const { session, timeline, status } = this;
    const state = this.current;
    const agent = session && realm.agents.get(session.agentId);
    const name = session ? realm.agentName(session.agentId) : "";
    const loading = this.from === null;
    const writes = realm.may("sessions:write");
    return html`
      <div class="session">
        <header class="head">
          <a class="back" href="#" aria-label="All sessions">‹</a>
          <div class="names">
            <h2 title=${id}>${session ? (session.title ?? name) : "…"}</h2>
            <p class="sub">
              ${session?.title && html`<span>${name}</span>`}
              ${agent?.driver && html`<span>${agent.driver}</span>`}
              ${agent?.state && agent.state !== "active" && html`<span>agent ${words(agent.state).toLowerCase()}</span>`}
              <${Tokens} usage=${this.usage} context=${timeline.context} />
            </p>
          </div>
          ${state && html`<span class=${`badge ${state}`} data-state=${state}><span class=${`dot ${state}`}></span>${sessionState(state)}</span>`}
          ${writes && state && state !== "completed" && !this.busy && html`<${Sure} busy=${closing} onSure=${() => this.close()} />`}
        </header>
        <${Connection} status=${status} onRetry=${() => (this.stream?.status.state === "reconnecting" ? this.stream.retry() : null)} />
        <div class="scroller" ref=${(element) => (this.scroller = element)} onScroll=${this.scrolled} tabindex="0" role="log" aria-live="off" aria-label="Timeline">
          <div class="timeline" ref=${(element) => (this.content = element)}>
            ${(loading ? [] : timeline.blocks.slice(this.from)).map((block) => html`<${Block} key=${block.key} block=${block} v=${block.v} />`)}
            ${(!loading || !problem) && html`<${Tail} key="tail" timeline=${timeline} state=${state} loading=${loading} />`}
            ${[...this.waiting.values()].map(
              (run) => html`
                <article class="row user waiting" key=${run.id}>
                  <h3 class="who">You <span class="tag">${waits(timeline.runs.get(run.id)) ?? (this.waiting.size > 1 || this.busy ? "queued" : "sent")}</span>
                    ${writes && run.state === "queued" && html`<button class="quiet" disabled=${withdrawing} onClick=${() => this.withdraw(run)}>Withdraw</button>`}
                  </h3>
                  <div class="plain">${run.prompt}</div>
                </article>`,
            )}
            ${!loading && timeline.rows === 0 && !this.waiting.size && !this.busy &&
            html`<div class="empty" key="empty"><h2>Nothing said yet</h2><p>Tell ${name} what to do. What it says and does shows here as it happens.</p></div>`}
          </div>
        </div>
        ${!this.stick && html`<button class="latest" onClick=${() => { this.stick = true; this.pin(); this.setState({}); }}>↓ Latest</button>`}
        <div class="visually-hidden" role="status" aria-live="polite">${this.says}</div>
        <footer class="foot">
          ${problem && html`<${Failure} problem=${problem} />`}
          ${writes && [...timeline.asks].map(([key, row]) => html`<${Ask} key=${key} row=${row} busy=${answering} onAnswer=${(answer) => this.answer(row, answer)} />`)}
          ${state === "completed"
            ? html`<p class="dim over">This session is closed. <button class="quiet" onClick=${onCreate}>New session</button></p>`
            : writes
              ? html`<${Composer} id=${id} busy=${this.busy} state=${state} posting=${posting} cancelling=${cancelling}
                  onSend=${(prompt) => this.send(prompt)} onCancel=${() => this.cancel()} />`
              : html`<p class="dim over">This key may read the session, not write to it.</p>`}
        </footer>
      </div>`;
  }
}

/** What a run waits for that has not begun, in words. */
function waits(run) {
  if (!run?.waits) return null;
  return run.waits === "workspace" ? "waits for the files" : "waits for room";
}

function Tokens({ usage, context }) {
  let input = 0;
  let output = 0;
  for (const one of usage.values()) {
    input += one.inputTokens ?? 0;
    output += one.outputTokens ?? 0;
  }
  return html`
    ${(input > 0 || output > 0) && html`<span title="Tokens of the last runs: in, out">${count(input)} in / ${count(output)} out</span>`}
    ${context && html`<span title="Context in use">context ${count(context.used)}${context.size ? ` of ${count(context.size)}` : ""}</span>`}`;
}

/** What goes on after the last row. */
function Tail({ timeline, state, loading }) {
  if (loading) return html`<p class="row tail dim">${timeline.history > 1000 ? `Loading ${Math.round((100 * timeline.lastSeq) / timeline.history)} %` : "Loading…"}</p>`;
  const run = timeline.active;
  if (!run && state !== "streaming" && state !== "cancelling") return null;
  const says =
    state === "cancelling"
      ? "Stopping…"
      : run?.state === "awaiting_approval"
        ? "Waits for approval"
        : run?.state === "streaming"
          ? "Working…"
          : "Waking the agent…";
  return html`<p class="row tail"><span class="spinner" aria-hidden="true"></span>${says}</p>`;
}

function Connection({ status, onRetry }) {
  if (status.state === "reconnecting") {
    return html`<p class="connection" role="status"><span class="spinner" aria-hidden="true"></span>Connection lost. Reconnecting…
      <button class="quiet" onClick=${onRetry}>Now</button></p>`;
  }
  if (status.state === "failed") return html`<p class="connection failed" role="alert">Not following: ${status.error.message}</p>`;
  return null;
}

/** Closing cannot be undone, so it takes two presses. */
class Sure extends Component {
  render({ busy, onSure }, { asked }) {
    if (!asked) return html`<button class="quiet" onClick=${() => this.setState({ asked: true })}>Close</button>`;
    return html`<button class="danger" disabled=${busy} onClick=${onSure} onBlur=${() => this.setState({ asked: false })}
      ref=${(button) => button?.focus()}>Close for good</button>`;
  }
}

class Composer extends Component {
  constructor(props) {
    super(props);
    this.state = { text: drafts.get(props.id) ?? "" };
    this.submit = this.submit.bind(this);
  }

  componentDidMount() {
    // On a phone this would cover half the session with a keyboard.
    if (matchMedia("(min-width: 800px)").matches) this.area.focus();
  }

  async submit(event) {
    event?.preventDefault();
    const { text } = this.state;
    if (!text.trim() || this.props.posting) return;
    if (await this.props.onSend(text)) {
      drafts.delete(this.props.id);
      if (this.state.text === text) this.setState({ text: "" });
    }
  }

  render({ id, busy, state, posting, cancelling, onCancel }, { text }) {
    const typed = (event) => {
      drafts.set(id, event.currentTarget.value);
      this.setState({ text: event.currentTarget.value });
    };
    const keys = (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit();
    };
    const stopping = cancelling || state === "cancelling";
    return html`
      <form class="composer" onSubmit=${this.submit}>
        <textarea ref=${(area) => (this.area = area)} rows="1" maxlength="100000" aria-label="Prompt"
          placeholder=${busy ? "Queue another prompt" : "Tell the agent what to do"}
          value=${text} onInput=${typed} onKeyDown=${keys}></textarea>
        <div class="actions">
          <span class="hint dim">Enter sends · Shift+Enter new line${busy ? " · Esc cancels" : ""}</span>
          ${busy && html`<button type="button" class="danger" disabled=${stopping} onClick=${onCancel}>${stopping ? "Stopping…" : "Cancel run"}</button>`}
          <button class="primary" disabled=${!text.trim() || posting}>${busy ? "Queue" : "Send"}</button>
        </div>
      </form>`;
  }
}
