// The rows of a timeline.

import { diff } from "./diff.js";
import { clock, count, full, json, span, words } from "./format.js";
import { Markdown } from "./markdown.js";
import { Component, html } from "./ui.js";

const LONG = 12_000;
const pictures = /^image\/(png|jpeg|gif|webp)$/;

/** Fifty rows, drawn again only when one of them changed. */
export class Block extends Component {
  shouldComponentUpdate(next) {
    return next.v !== this.props.v;
  }

  render({ block }) {
    return html`<div class="block">${block.rows.map((row) => html`<${Row} key=${row.key} row=${row} v=${row.v} />`)}</div>`;
  }
}

class Row extends Component {
  shouldComponentUpdate(next, state) {
    return next.v !== this.props.v || state !== this.state;
  }

  componentDidCatch(error) {
    console.warn("A row could not be drawn", error.message);
    this.setState({ broken: true });
  }

  render({ row }) {
    const kind = this.state.broken ? kinds.raw : (kinds[row.kind] ?? kinds.raw);
    return kind(row);
  }
}

const kinds = {
  user: (row) => html`
    <article class="row user" title=${full(row.time)}>
      <h3 class="who">You</h3>
      <div class="plain">${row.text}</div>
    </article>`,

  agent: (row) => {
    const text = row.text + row.live;
    if (!text) return null;
    return html`
      <article class=${`row agent ${row.live ? "live" : ""}`} title=${full(row.time)}>
        <h3 class="who">Agent</h3>
        <${Markdown} text=${text} />
      </article>`;
  },

  thought: (row) => {
    const text = row.text + row.live;
    if (!text) return null;
    return html`
      <details class="row fold thought">
        <summary>
          <${Chevron} />
          <span class="label">${row.live ? "Thinking" : "Thought"}</span>
          <span class="gist">${gist(row.live ? text.slice(-240) : text)}</span>
        </summary>
        <div class="inside"><div class="plain">${text}</div></div>
      </details>`;
  },

  tool: (row) => html`<${Tool} row=${row} v=${row.v} />`,

  plan: (row) => {
    const done = row.entries.filter((entry) => entry.status === "completed").length;
    return html`
      <section class="row plan" aria-label="Plan">
        <h3 class="label">Plan <span class="dim">${done} of ${row.entries.length}</span></h3>
        <ul>
          ${row.entries.map(
            (entry, at) => html`
              <li key=${at} class=${mark(entry.status)}>
                <span class="tick" role="img" aria-label=${words(entry.status ?? "pending")}></span>
                <span>${String(entry.content ?? "")}</span>
                ${entry.priority === "high" && html`<span class="tag">high</span>`}
              </li>`,
          )}
        </ul>
      </section>`;
  },

  permission: (row) => html`
    <section class="row card ask">
      <h3 class="label">Permission asked</h3>
      <div>${String(row.data.toolCall?.title ?? row.data.title ?? "The agent asks to use a tool.")}</div>
      ${row.data.outcome !== undefined && html`<div class="dim">Answered: ${json(row.data.outcome)}</div>`}
      ${Array.isArray(row.data.options) &&
      html`<div class="dim">${row.data.options.map((option) => option?.name ?? option?.optionId).join(" · ")}</div>`}
    </section>`,

  elicitation: (row) => html`
    <section class="row card ask">
      <h3 class="label">Answer asked</h3>
      <div class="plain">${String(row.data.message ?? "")}</div>
      ${row.data.action !== undefined && html`<div class="dim">Answered: ${words(row.data.action)}</div>`}
    </section>`,

  notice: (row) => {
    const severity = ["error", "warning"].includes(row.data.severity) ? row.data.severity : "info";
    return html`
      <section class=${`row card ${severity}`}>
        <h3 class="label">${String(row.data.title ?? "Notice")}</h3>
        ${row.data.description && html`<div class="plain">${String(row.data.description)}</div>`}
      </section>`;
  },

  end: (row) => {
    const facts = [
      row.stopReason && ![row.state, "end_turn"].includes(row.stopReason) && words(row.stopReason),
      row.took !== null && span(row.took),
      row.usage && `${count(row.usage.inputTokens)} in, ${count(row.usage.outputTokens)} out`,
      clock(row.time),
    ].filter(Boolean);
    return html`
      <section class=${`row end ${row.state}`} title=${full(row.time)}>
        <div class="line">
          <span class="mark" aria-hidden="true"></span>
          <strong>${words(row.state)}</strong>
          ${row.code && html`<code>${row.code}</code>`}
          ${facts.map((fact) => html`<span class="dim">${fact}</span>`)}
        </div>
        ${row.detail && html`<p class="plain">${row.detail}</p>`}
      </section>`;
  },

  closed: (row) => html`
    <section class="row end" title=${full(row.time)}>
      <div class="line"><strong>Session closed</strong><span class="dim">${clock(row.time)}</span></div>
    </section>`,

  content: (row) => html`<section class="row">${content(row.content)}</section>`,

  raw: (row) => html`
    <details class="row fold">
      <summary><${Chevron} /><span class="label mono">${row.type ?? row.kind}</span></summary>
      <div class="inside"><${Long} text=${json(row.data ?? null)} /></div>
    </details>`,
};
Object.setPrototypeOf(kinds, null);

const Chevron = () => html`<span class="chevron" aria-hidden="true"></span>`;

function gist(text) {
  return text.slice(0, 240).replace(/\s+/g, " ").trim();
}

function mark(status) {
  return ["completed", "in_progress"].includes(status) ? status : "pending";
}

/** A tool call: one line, the rest is drawn when it is opened. */
class Tool extends Component {
  render({ row }) {
    const { call } = row;
    const status = row.abandoned ? "abandoned" : ["completed", "failed", "in_progress"].includes(call.status) ? call.status : "pending";
    const says = { abandoned: "Not finished", completed: "Done", failed: "Failed", in_progress: "Running", pending: "Pending" }[status];
    const kind = words(call.kind ?? "tool");
    const title = gist(String(call.title ?? call.toolCallId ?? ""));
    const places = (Array.isArray(call.locations) ? call.locations : []).filter((place) => place?.path);
    const toggle = (event) => {
      row.open = event.currentTarget.open;
      this.setState({});
    };
    return html`
      <details class=${`row fold tool ${status}`} open=${row.open} onToggle=${toggle}>
        <summary>
          <${Chevron} />
          <span class="status" role="img" aria-label=${says}></span>
          ${!title.toLowerCase().startsWith(kind.toLowerCase()) && html`<span class="label">${kind}</span>`}
          <span class="gist mono">${title}</span>
          ${(status === "failed" || status === "abandoned") && html`<span class="tag">${says}</span>`}
        </summary>
        ${row.open &&
        html`<div class="inside">
          ${places.length > 0 &&
          html`<ul class="places">${places.slice(0, 50).map((place) => html`<li class="mono">${place.path}${place.line != null ? `:${place.line}` : ""}</li>`)}</ul>`}
          ${(Array.isArray(call.content) ? call.content : []).map(part)}
          ${call.rawInput !== undefined && html`<h4>Input</h4><${Long} text=${typeof call.rawInput === "string" ? call.rawInput : json(call.rawInput)} />`}
          ${call.rawOutput !== undefined && html`<h4>Output</h4><${Long} text=${typeof call.rawOutput === "string" ? call.rawOutput : json(call.rawOutput)} />`}
        </div>`}
      </details>`;
  }
}

function part(item) {
  if (item?.type === "content") return content(item.content);
  if (item?.type === "diff") return html`<${Diff} path=${item.path} before=${item.oldText ?? ""} after=${item.newText ?? ""} fresh=${item.oldText == null} />`;
  return html`<${Long} text=${json(item)} />`;
}

function content(block) {
  switch (block?.type) {
    case "text":
      return html`<${Long} text=${String(block.text ?? "")} />`;
    case "image":
      return pictures.test(block.mimeType) && typeof block.data === "string"
        ? html`<img class="picture" alt="Picture from the agent" src=${`data:${block.mimeType};base64,${block.data}`} />`
        : html`<p class="dim">Picture (${String(block.mimeType ?? "unknown type")})</p>`;
    case "resource_link":
      return html`<p class="mono">${String(block.title ?? block.name ?? "")} <span class="dim">${String(block.uri ?? "")}</span></p>`;
    case "resource":
      return html`<p class="mono dim">${String(block.resource?.uri ?? "")}</p><${Long} text=${String(block.resource?.text ?? "")} />`;
    default:
      return html`<${Long} text=${json(block)} />`;
  }
}

/** Preformatted text; much of it only when asked for. */
class Long extends Component {
  render({ text }) {
    const whole = this.state.whole || text.length <= LONG;
    if (!text) return null;
    return html`
      <pre tabindex="0"><code>${whole ? text : text.slice(0, LONG)}</code></pre>
      ${!whole && html`<button class="quiet" onClick=${() => this.setState({ whole: true })}>Show all ${count(text.length)} characters</button>`}`;
  }
}

class Diff extends Component {
  shouldComponentUpdate(next) {
    return next.before !== this.props.before || next.after !== this.props.after;
  }

  render({ path, before, after, fresh }) {
    const lines = diff(String(before), String(after));
    const added = lines.filter((line) => line.sign === "+").length;
    const removed = lines.filter((line) => line.sign === "-").length;
    const shown = lines.slice(0, 2000);
    return html`
      <figure class="diff">
        <figcaption>
          <span class="mono">${String(path ?? "")}</span>
          ${fresh && html`<span class="tag">new</span>`}
          <span class="plus">+${added}</span> <span class="minus">−${removed}</span>
        </figcaption>
        <div class="lines" tabindex="0">
          <table>
            <tbody>
              ${shown.map(
                (line, at) => html`
                  <tr key=${at} class=${{ "+": "add", "-": "del", "…": "gap" }[line.sign] ?? ""}>
                    <td class="n">${line.old ?? ""}</td>
                    <td class="n">${line.new ?? ""}</td>
                    <td class="s">${line.sign === "…" ? "" : line.sign}</td>
                    <td>${line.text}</td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>
        ${shown.length < lines.length && html`<p class="dim">${lines.length - shown.length} more lines</p>`}
      </figure>`;
  }
}
