// The dialog that opens a session, with an agent that exists or a new one.

import { intent } from "./api.js";
import { Component, html } from "./ui.js";

const drivers = [
  ["acp", "ACP — a program that speaks the protocol; the echo agent without one"],
  ["vanilla", "Tool loop — a model that reads, writes and runs commands"],
];

export class NewSession extends Component {
  constructor(props) {
    super(props);
    const { realm } = props;
    const first = realm.agentId || realm.sessions[0]?.agentId || [...realm.agents.keys()][0] || "";
    this.state = { agent: realm.agents.has(first) ? first : "", busy: false, problem: null };
    this.submit = this.submit.bind(this);
  }

  componentDidMount() {
    this.dialog.showModal();
    this.props.realm.loadAgents();
  }

  async submit(event) {
    event.preventDefault();
    const { api, realm, onCreated } = this.props;
    const form = new FormData(event.currentTarget);
    const title = form.get("title").trim();
    let agentId = this.state.agent;
    this.setState({ busy: true, problem: null });
    try {
      if (!agentId) {
        // The same attempt again, after a lost answer, must not make a second agent.
        const body = { name: form.get("name").trim(), driver: form.get("driver") };
        const said = JSON.stringify(body);
        if (this.said !== said) {
          this.said = said;
          this.intent = intent();
        }
        const agent = await api.post("/v1/agents", body, this.intent);
        realm.agents.set(agent.id, agent);
        agentId = agent.id;
        this.setState({ agent: agentId });
      }
      onCreated(await api.post("/v1/sessions", title ? { agentId, title } : { agentId }));
    } catch (problem) {
      this.said = problem.status === 0 ? this.said : null;
      this.setState({ busy: false, problem });
    }
  }

  render({ realm, onClose }, { agent, busy, problem }) {
    const agents = [...realm.agents.values()].sort((a, b) => a.name.localeCompare(b.name));
    const creates = realm.may("agents:write");
    return html`
      <dialog class="new" ref=${(dialog) => (this.dialog = dialog)} onClose=${onClose} aria-labelledby="new-title">
        <form onSubmit=${this.submit}>
          <h2 id="new-title">New session</h2>
          <label for="new-agent">Agent</label>
          <select id="new-agent" value=${agent} onChange=${(event) => this.setState({ agent: event.currentTarget.value })}>
            ${agents.map((one) => html`<option key=${one.id} value=${one.id}>${one.name}${one.driver ? ` (${one.driver})` : ""}</option>`)}
            ${creates && html`<option value="">New agent…</option>`}
          </select>
          ${!agent &&
          creates &&
          html`
            <label for="new-name">Name of the agent</label>
            <input id="new-name" name="name" required maxlength="120" autocomplete="off" placeholder="echo" />
            <label for="new-driver">Driver</label>
            <select id="new-driver" name="driver">
              ${drivers.map(([value, says]) => html`<option value=${value}>${says}</option>`)}
            </select>`}
          <label for="new-title-field">Title <span class="dim">(optional)</span></label>
          <input id="new-title-field" name="title" maxlength="120" autocomplete="off" />
          ${problem && html`<${Failure} problem=${problem} />`}
          <div class="actions">
            <button type="button" class="quiet" onClick=${() => this.dialog.close()}>Cancel</button>
            <button class="primary" disabled=${busy || (!agent && !creates)}>${busy ? "Opening…" : "Open session"}</button>
          </div>
        </form>
      </dialog>`;
  }
}

/** A problem, with the places it names. */
export function Failure({ problem }) {
  return html`
    <div class="problem" role="alert">
      ${problem.title && problem.title !== problem.message && html`<strong>${problem.title}. </strong>`}${problem.message}
      ${problem.errors?.length > 0 &&
      html`<ul>${problem.errors.map((error) => html`<li><code>${error.field}</code> ${error.detail}</li>`)}</ul>`}
    </div>`;
}
