// The list of sessions.

import { ago, full, sessionState } from "./format.js";
import { Component, html } from "./ui.js";

export class Sidebar extends Component {
  componentDidMount() {
    this.timer = setInterval(() => this.setState({}), 20_000);
  }

  componentWillUnmount() {
    clearInterval(this.timer);
  }

  render({ realm, selected, onCreate, onSignOut }) {
    const agents = [...realm.agents.values()].sort((a, b) => a.name.localeCompare(b.name));
    return html`
      <nav class="sidebar" aria-label="Sessions">
        <header>
          <img src="/console/icon.svg" alt="" width="22" height="22" />
          <h1>${realm.me?.realm?.name ?? "Reeve"}</h1>
          ${realm.me && realm.me.realm.state && realm.me.realm.state !== "active" && html`<span class="tag">${realm.me.realm.state}</span>`}
          <button class="quiet" onClick=${onSignOut} title="Forget the key in this tab">Sign out</button>
        </header>
        <div class="tools">
          <select aria-label="Show sessions of" value=${realm.agentId} onChange=${(event) => realm.filter(event.currentTarget.value)}>
            <option value="">All agents</option>
            ${agents.map((agent) => html`<option key=${agent.id} value=${agent.id}>${agent.name}</option>`)}
          </select>
          ${realm.may("sessions:write") && html`<button class="primary" onClick=${onCreate}>New session</button>`}
        </div>
        ${realm.error &&
        html`<p class="problem banner" role="status">${realm.error.message} ${realm.known ? "The list may be old. " : ""}Trying again.</p>`}
        <ul class="sessions" onKeyDown=${arrows}>
          ${realm.sessions.map(
            (session) => html`<${Entry}
              key=${session.id}
              session=${session}
              name=${realm.agentName(session.agentId)}
              selected=${session.id === selected}
            />`,
          )}
        </ul>
        ${realm.known && !realm.sessions.length && html`<p class="dim none">${realm.agentId ? "This agent has no sessions." : "Nothing here yet."}</p>`}
        ${!realm.known && !realm.error && html`<p class="dim none">Loading…</p>`}
        ${realm.cursor &&
        html`<button class="quiet more" disabled=${realm.loading} onClick=${() => realm.more()}>${realm.loading ? "Loading…" : "Load more"}</button>`}
      </nav>`;
  }
}

function Entry({ session, name, selected }) {
  const says = sessionState(session.state);
  return html`
    <li>
      <a href=${`#session=${session.id}`} class="entry" aria-current=${selected ? "page" : undefined}>
        <span class=${`dot ${session.state}`} role="img" aria-label=${says} title=${says}></span>
        <span class="title">${session.title ?? name}</span>
        <time datetime=${session.updatedAt} title=${full(session.updatedAt)}>${ago(session.updatedAt)}</time>
        <span class="sub">${session.title ? `${name} · ` : ""}${says}${session.queuedRuns ? ` · ${session.queuedRuns} queued` : ""}</span>
      </a>
    </li>`;
}

function arrows(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const links = [...event.currentTarget.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  if (at < 0) return;
  event.preventDefault();
  links[Math.min(links.length - 1, Math.max(0, at + step))].focus();
}
