// A session's events, folded into the rows that are shown. No DOM here.
//
// Rows are objects that change in place and count their changes in `v`; they lie in blocks that do
// the same, so that drawing again costs what has changed, not what there is.

const BLOCK = 50;
const TERMINAL = new Set(["completed", "cancelled", "failed"]);

export const terminal = (state) => TERMINAL.has(state);

const object = (value) => (value !== null && typeof value === "object" ? value : {});
const string = (value) => (typeof value === "string" ? value : value == null ? "" : String(value));

export class Timeline {
  /** `onChange()` is called after each change, `onSaid(text)` with what is worth saying aloud. */
  constructor(onChange = () => {}, onSaid = () => {}) {
    this.onChange = onChange;
    this.onSaid = onSaid;
    this.v = 0;
    this.blocks = [];
    this.rows = 0;
    this.lastSeq = 0;
    /** Up to here it is history: what the session had when it was opened. */
    this.history = 0;
    /** What the session's own events say, newer than `history`. */
    this.state = null;
    this.closed = false;
    this.context = null;
    /** How many runs ended here since it was opened. */
    this.ended = 0;
    this.runs = new Map();
    /** Permission requests and elicitations that wait for an answer, by run and request. */
    this.asks = new Map();
    this.tools = new Map();
    /** Tool calls that have not ended. */
    this.working = new Set();
    this.plans = new Map();
    /** Rows that show text which is not durable yet. */
    this.loose = new Set();
    this.cut = 0;
    this.last = null;
  }

  // Rows

  /** Nobody waits for this request any more: `answer` is what came of it. */
  answered(event, request, answer) {
    const id = `${event.runId}/${request}`;
    const row = this.asks.get(id);
    if (!row) return;
    this.asks.delete(id);
    Object.assign(row.data, answer);
    this.touch(row);
  }

  add(kind, event, rest) {
    let block = this.blocks.at(-1);
    if (!block || block.rows.length >= BLOCK) {
      block = { key: this.blocks.length, v: 0, rows: [] };
      this.blocks.push(block);
    }
    const row = { key: this.rows, kind, v: 0, block, run: event.runId ?? null, time: event.time, ...rest };
    this.rows += 1;
    block.rows.push(row);
    block.v += 1;
    this.v += 1;
    this.last = row;
    return row;
  }

  touch(row) {
    row.v += 1;
    row.block.v += 1;
    this.v += 1;
  }

  run(id) {
    let run = this.runs.get(id);
    if (!run) {
      run = { id, state: null, prompted: false, startedAt: null, usage: null };
      this.runs.set(id, run);
    }
    return run;
  }

  /** The run in flight, if there is one. */
  get active() {
    let found = null;
    for (const run of this.runs.values()) {
      if (run.state && !terminal(run.state) && run.state !== "queued") found = run;
    }
    return found;
  }

  // Events

  /** A durable event whose turn it is. Whatever is in it, it counts. */
  durable(event, seq) {
    this.lastSeq = seq;
    const data = object(event.data);
    try {
      const fold = folds[event.type];
      if (fold) fold(this, event, data, seq);
      else this.add("raw", event, { type: string(event.type), data: event.data });
    } catch (error) {
      console.warn("An event is not in the shape its type has", seq, error.message);
      this.add("raw", event, { type: string(event.type), data: event.data });
    }
    this.v += 1;
    this.onChange();
  }

  /** A live piece of something that will be told again, whole, as a durable event. */
  live(event) {
    const kind = { agent_message_delta: "agent", agent_thought_delta: "thought" }[event.type];
    const data = object(event.data);
    const text = string(data.text);
    if (!kind || !text) return;
    if (event.runId && terminal(this.runs.get(event.runId)?.state)) return;
    const row = this.speech(kind, event, data.messageId);
    if (row.cut !== this.cut) {
      if (row.live) row.live += " … ";
      row.cut = this.cut;
    }
    row.live += text;
    this.loose.add(row);
    this.touch(row);
    this.onChange();
  }

  /** The connection broke: live pieces may be missing from here on. */
  interrupted() {
    this.cut += 1;
  }

  /** The row that words of this run and message belong to. */
  speech(kind, event, messageId) {
    const run = event.runId ?? null;
    const same = (row) =>
      row.kind === kind &&
      row.run === run &&
      (messageId == null || row.messageId == null || row.messageId === messageId);
    for (const row of this.loose) if (same(row)) return row;
    if (this.last && same(this.last)) return this.last;
    return this.add(kind, event, { text: "", live: "", messageId: messageId ?? null, cut: this.cut });
  }

  /** What was live is durable now, or never will be. */
  settle(row) {
    this.loose.delete(row);
    row.live = "";
    this.touch(row);
  }

  said(text, seq) {
    if (seq > this.history) this.onSaid(text);
  }
}

function speak(kind) {
  return (timeline, event, data, seq) => {
    const content = object(data.content);
    if (content.type !== "text") {
      timeline.add("content", event, { content });
      return;
    }
    const row = timeline.speech(kind, event, data.messageId);
    if (data.messageId != null) row.messageId ??= data.messageId;
    row.text += string(content.text);
    timeline.settle(row);
    if (kind === "agent") timeline.said(`Agent: ${row.text.slice(-400)}`, seq);
  };
}

function tool(timeline, event, data) {
  const id = `${event.runId}/${data.toolCallId}`;
  let row = timeline.tools.get(id);
  if (!row) {
    row = timeline.add("tool", event, { call: {}, open: false });
    timeline.tools.set(id, row);
  }
  for (const [name, value] of Object.entries(data)) {
    // An update names what changed; null leaves it as it is.
    if (value !== null && name !== "__proto__") row.call[name] = value;
  }
  if (["completed", "failed"].includes(row.call.status)) {
    timeline.working.delete(row);
    row.abandoned = false;
  } else if (!terminal(timeline.runs.get(event.runId)?.state)) {
    timeline.working.add(row);
  }
  timeline.touch(row);
}

const folds = {
  user_message_chunk(timeline, event, data) {
    const content = object(data.content);
    if (event.runId) timeline.run(event.runId).prompted = true;
    if (content.type !== "text") {
      timeline.add("content", event, { content });
    } else if (timeline.last?.kind === "user" && timeline.last.run === (event.runId ?? null)) {
      timeline.last.text += string(content.text);
      timeline.touch(timeline.last);
    } else {
      timeline.add("user", event, { text: string(content.text) });
    }
  },

  agent_message_chunk: speak("agent"),
  agent_thought_chunk: speak("thought"),
  tool_call: tool,
  tool_call_update: tool,

  plan(timeline, event, data) {
    if (!Array.isArray(data.entries)) throw new TypeError("a plan without entries");
    const entries = data.entries.map(object);
    const row = timeline.plans.get(event.runId);
    if (row) {
      row.entries = entries;
      timeline.touch(row);
    } else {
      timeline.plans.set(event.runId, timeline.add("plan", event, { entries }));
    }
  },

  usage_update(timeline, _event, data) {
    if (typeof data.used === "number") {
      timeline.context = { used: data.used, size: typeof data.size === "number" ? data.size : null };
    }
  },

  permission_request(timeline, event, data, seq) {
    const row = timeline.add("permission", event, { data: { ...data } });
    // What was answered by the agent's settings waits for nobody.
    if (data.outcome === undefined) timeline.asks.set(`${event.runId}/${data.requestId}`, row);
    timeline.said("The agent asks for permission.", seq);
  },

  permission_response(timeline, event, data) {
    timeline.answered(event, data.requestId, { outcome: data.outcome });
  },

  elicitation_request(timeline, event, data, seq) {
    const row = timeline.add("elicitation", event, { data: { ...data } });
    timeline.asks.set(`${event.runId}/${data.requestId}`, row);
    timeline.said(`The agent asks: ${string(data.message)}`, seq);
  },

  elicitation_response(timeline, event, data) {
    timeline.answered(event, data.requestId, { action: string(data.action) });
  },

  workspace_not_kept(timeline, event, data, seq) {
    const title = "What this run has left in the workspace is not kept";
    timeline.add("notice", event, { data: { severity: "error", title, description: string(data.reason) } });
    timeline.said(`${title}: ${string(data.reason)}`, seq);
  },

  notice(timeline, event, data, seq) {
    timeline.add("notice", event, { data });
    timeline.said(`Notice: ${string(data.title)}`, seq);
  },

  run_state(timeline, event, data, seq) {
    const run = timeline.run(event.runId);
    run.state = string(data.state);
    if (run.state === "streaming") run.startedAt ??= event.time;
    // A session goes with its runs: only its own end is told for itself.
    if (seq > timeline.history && run.state !== "queued") timeline.state = timeline.active ? "streaming" : "waiting_input";
    if (!terminal(run.state)) return;
    for (const row of [...timeline.loose]) if (row.run === event.runId) timeline.settle(row);
    for (const row of [...timeline.working]) {
      if (row.run !== event.runId) continue;
      timeline.working.delete(row);
      row.abandoned = true;
      timeline.touch(row);
    }
    for (const [id, row] of timeline.asks) if (row.run === event.runId) timeline.asks.delete(id);
    if (seq > timeline.history) timeline.ended += 1;
    run.row = timeline.add("end", event, {
      state: run.state,
      stopReason: string(data.stopReason),
      code: string(data.code),
      detail: string(data.detail),
      took: run.startedAt ? Date.parse(event.time) - Date.parse(run.startedAt) : null,
      usage: run.usage,
    });
    timeline.said(`Run ${run.state}.${data.detail ? ` ${data.detail}` : ""}`, seq);
  },

  waiting_for_capacity(timeline, event, data, seq) {
    timeline.run(event.runId).waits = string(data.limit);
    timeline.said("Waits until there is room to run.", seq);
  },

  waiting_for_workspace(timeline, event, data, seq) {
    timeline.run(event.runId).waits = "workspace";
    timeline.said("Waits until the files are in place.", seq);
  },

  container_state(timeline, event, data, seq) {
    const why = string(data.detail) || string(data.code);
    const title = `Container ${string(data.state)}`;
    timeline.add("notice", event, { data: { severity: "error", title, description: why } });
    timeline.said(`${title}. ${why}`, seq);
  },

  session_state(timeline, event, data, seq) {
    timeline.closed = data.state === "completed";
    if (seq > timeline.history) timeline.state = string(data.state);
    if (timeline.closed) timeline.add("closed", event, {});
  },
};
Object.setPrototypeOf(folds, null);
