// The form for a key, where the address brought none or the key stopped working.

import { html, useRef, useState } from "./ui.js";

export function SignIn({ reason, onKey }) {
  const [missing, setMissing] = useState(false);
  const input = useRef();
  const submit = (event) => {
    event.preventDefault();
    const key = input.current.value.trim();
    setMissing(!key);
    if (key) onKey(key);
  };
  const problem = missing ? "Enter a key." : reason;
  return html`
    <div class="sign-in">
      <form onSubmit=${submit} novalidate>
        <h1><img src="/console/icon.svg" alt="" width="28" height="28" /> Reeve</h1>
        <p class="dim">
          Open the address that <code>reeve</code> printed when it started, or enter an API key. The key stays in this tab.
        </p>
        <label for="key">API key</label>
        <input id="key" ref=${input} type="password" autocomplete="off" spellcheck=${false} autofocus placeholder="rk_…"
          aria-invalid=${problem ? "true" : "false"} aria-describedby="key-problem" />
        <p id="key-problem" class="problem" role="alert">${problem}</p>
        <button class="primary">Sign in</button>
      </form>
    </div>`;
}
