// The console: signs in with the key from the address, then shows sessions and one of them live.

import { Api, Problem } from "./api.js";
import { Follow } from "./follow.js";
import { NewSession } from "./new-session.js";
import { SessionView } from "./session.js";
import { Sidebar } from "./sidebar.js";
import { SignIn } from "./sign-in.js";
import { Realm } from "./state.js";
import { Component, html, render } from "./ui.js";

const STORED = "reeve.key";

/** What the address says. A key does not stay in it. */
function address() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const key = parameters.get("key");
  if (key !== null) {
    parameters.delete("key");
    const rest = parameters.toString();
    history.replaceState(null, "", location.pathname + location.search + (rest ? `#${rest}` : ""));
  }
  return { key, session: parameters.get("session") };
}

function stored() {
  try {
    return sessionStorage.getItem(STORED);
  } catch {
    return null;
  }
}

function store(key) {
  try {
    if (key) sessionStorage.setItem(STORED, key);
    else sessionStorage.removeItem(STORED);
  } catch {
    // Without storage the key lasts as long as the page.
  }
}

class App extends Component {
  constructor() {
    super();
    const { key, session } = address();
    this.state = { session, creating: false, reason: null };
    this.update = () => this.setState({});
    this.moved = this.moved.bind(this);
    const known = key ?? stored();
    if (known) this.enter(known);
  }

  componentDidMount() {
    addEventListener("hashchange", this.moved);
  }

  moved() {
    const { key, session } = address();
    if (key && key !== this.api?.key) this.enter(key);
    this.setState({ session, creating: false });
  }

  enter(key) {
    this.leave();
    // Anything else cannot be put into a header.
    if (!/^[\x21-\x7e]{1,512}$/.test(key)) {
      this.state = { ...this.state, reason: "This does not look like an API key." };
      return;
    }
    store(key);
    this.api = new Api(key, (reason) => {
      if (this.api?.key !== key) return;
      this.leave();
      store(null);
      this.setState({ reason });
    });
    this.follow = new Follow(this.api);
    this.realm = new Realm(this.api, this.follow, this.update);
    this.state = { ...this.state, reason: null };
    this.realm.start();
  }

  leave() {
    this.realm?.stop();
    this.follow?.stop();
    this.realm = null;
    this.follow = null;
    this.api = null;
  }

  render(_, { session, creating, reason }) {
    if (!this.realm) {
      return html`<${SignIn} reason=${reason} onKey=${(key) => { this.enter(key); this.update(); }} />`;
    }
    const create = () => this.setState({ creating: true });
    const close = () => this.setState({ creating: false });
    const { realm } = this;
    return html`
      <div class=${`app ${session ? "at-session" : "at-list"}`} key=${this.api.key}>
        <${Sidebar}
          realm=${realm}
          selected=${session}
          onCreate=${create}
          onSignOut=${() => { this.leave(); store(null); this.setState({ reason: null }); }}
        />
        <main>
          ${session
            ? html`<${SessionView} key=${session} id=${session} api=${this.api} follow=${this.follow} realm=${realm} onCreate=${create} />`
            : html`<${Nothing} realm=${realm} onCreate=${create} />`}
        </main>
        ${creating &&
        html`<${NewSession}
          api=${this.api}
          realm=${realm}
          onClose=${close}
          onCreated=${(made) => {
            realm.put(made);
            this.setState({ creating: false });
            location.hash = `session=${made.id}`;
          }}
        />`}
      </div>`;
  }
}

function Nothing({ realm, onCreate }) {
  if (!realm.known) return null;
  return html`
    <div class="empty">
      <h2>${realm.sessions.length ? "No session chosen" : "No sessions yet"}</h2>
      <p>
        ${realm.sessions.length
          ? "Choose one from the list to follow it live, or start a new one."
          : "A session is a conversation with an agent. Start one, then tell the agent what to do."}
      </p>
      ${realm.may("sessions:write") && html`<button class="primary" onClick=${onCreate}>New session</button>`}
    </div>`;
}

window.addEventListener("unhandledrejection", (event) => {
  // A request that failed has been told where it matters.
  if (event.reason instanceof Problem) event.preventDefault();
});

render(html`<${App} />`, document.getElementById("root"));
