// What the agent waits for: somebody who allows something, fills in a form, or visits an address.

import { Component, html } from "./ui.js";

/** Something the agent waits for. `onAnswer` gets what the API takes, without the request's id. */
export function Ask({ row, busy, onAnswer }) {
  if (row.kind === "permission") return html`<${Permission} ...${row.data} busy=${busy} onAnswer=${onAnswer} />`;
  return html`<${Elicitation} ...${row.data} busy=${busy} onAnswer=${onAnswer} />`;
}

function Permission({ toolCall, options, busy, onAnswer }) {
  return html`
    <section class="card ask asks" role="group" aria-label="The agent asks for permission">
      <div>${String(toolCall?.title ?? "The agent asks to use a tool.")}</div>
      <div class="choices">
        ${options.map(
          (option) => html`
            <button key=${option.optionId} class=${String(option.kind).startsWith("allow") ? "primary" : ""} disabled=${busy}
              onClick=${() => onAnswer({ optionId: option.optionId })}>${option.name}</button>`,
        )}
      </div>
    </section>`;
}

class Elicitation extends Component {
  constructor(props) {
    super(props);
    this.fields = fields(props.requestedSchema);
    this.submit = this.submit.bind(this);
  }

  submit(event) {
    event.preventDefault();
    const form = event.currentTarget;
    const answer = { action: "accept" };
    if (this.props.mode === "form") {
      const filled = this.fields.map((field) => [field.name, field.read(form)]);
      answer.content = Object.fromEntries(filled.filter(([, value]) => value !== undefined));
    }
    this.props.onAnswer(answer);
  }

  render({ message, mode, url, busy, onAnswer }) {
    const safe = mode === "url" && /^https?:\/\//i.test(url);
    return html`
      <form class="card ask asks elicits" aria-label="The agent asks for an answer" onSubmit=${this.submit}>
        <div class="plain">${String(message ?? "")}</div>
        ${mode === "url" &&
        html`<p class="address">${safe ? html`<a href=${url} target="_blank" rel="noreferrer noopener">${url}</a>` : html`<code>${String(url)}</code>`}</p>`}
        ${mode === "form" && this.fields.map((field) => html`<${Field} key=${field.name} field=${field} />`)}
        <div class="choices">
          <button class="primary" disabled=${busy}>${mode === "url" ? "I have been there" : "Answer"}</button>
          <button type="button" disabled=${busy} onClick=${() => onAnswer({ action: "decline" })}>Decline</button>
        </div>
      </form>`;
  }
}

function Field({ field: { name, kind, title, description, required, value, choices, limits } }) {
  const note = description && html`<small class="dim">${description}</small>`;
  if (kind === "checkbox") {
    return html`<label class="check"><input type="checkbox" name=${name} defaultChecked=${value === true} /> ${title} ${note}</label>`;
  }
  const label = html`<span>${title}${!required && html` <span class="dim">(optional)</span>`}</span>`;
  if (kind === "several") {
    return html`
      <fieldset>
        <legend>${title}</legend>
        ${choices.map(
          (choice) => html`
            <label class="check" key=${choice.value}>
              <input type="checkbox" name=${name} value=${choice.value} defaultChecked=${Array.isArray(value) && value.includes(choice.value)} /> ${choice.title}
            </label>`,
        )}
        ${note}
      </fieldset>`;
  }
  if (kind === "select") {
    return html`
      <label>${label}
        <select name=${name} required=${required}>
          ${(!required || value === undefined) && html`<option value=""></option>`}
          ${choices.map((choice) => html`<option key=${choice.value} value=${choice.value} selected=${choice.value === value}>${choice.title}</option>`)}
        </select>
        ${note}
      </label>`;
  }
  return html`<label>${label}<input type=${kind} name=${name} required=${required} defaultValue=${value ?? ""} ...${limits} />${note}</label>`;
}

const TEXTS = { email: "email", uri: "url", date: "date" };

/** The fields of a form, from the schema of what is to be filled in: an object of plain values. */
function fields(schema) {
  const required = new Set(Array.isArray(schema?.required) ? schema.required : []);
  return Object.entries(schema?.properties ?? {}).map(([name, of]) => {
    const field = {
      name,
      title: String(of.title ?? name),
      description: of.description ? String(of.description) : null,
      required: required.has(name),
      value: of.default,
      choices: choices(of) ?? choices(of.items) ?? [],
    };
    const text = (form) => form.elements.namedItem(name).value;
    if (of.type === "boolean") return { ...field, kind: "checkbox", read: (form) => form.elements.namedItem(name).checked };
    if (of.type === "array") {
      const checked = (form) => [...form.querySelectorAll(`[name="${CSS.escape(name)}"]:checked`)].map(({ value }) => value);
      return { ...field, kind: "several", read: (form) => (checked(form).length || field.required ? checked(form) : undefined) };
    }
    if (field.choices.length) return { ...field, kind: "select", read: (form) => text(form) || undefined };
    if (of.type === "number" || of.type === "integer") {
      const limits = { min: of.minimum, max: of.maximum, step: of.type === "integer" ? 1 : "any" };
      return { ...field, kind: "number", limits, read: (form) => (text(form) === "" ? undefined : Number(text(form))) };
    }
    const limits = { minlength: of.minLength, maxlength: of.maxLength, pattern: of.pattern };
    return { ...field, kind: TEXTS[of.format] ?? "text", limits, read: (form) => text(form) || (field.required ? "" : undefined) };
  });
}

/** The values that one may choose from, with what they are called; null where there are none. */
function choices(of) {
  if (Array.isArray(of?.enum)) return of.enum.map((value, at) => ({ value, title: String(of.enumNames?.[at] ?? value) }));
  const named = of?.oneOf ?? of?.anyOf;
  return Array.isArray(named) ? named.map((one) => ({ value: one.const, title: String(one.title ?? one.const) })) : null;
}
