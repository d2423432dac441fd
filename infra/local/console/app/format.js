// How values read.

const minute = 60;
const hour = 60 * minute;
const day = 24 * hour;

/** "now", "4 min", "3 h", "2 d", then the date. */
export function ago(time, now = Date.now()) {
  const at = Date.parse(time);
  if (Number.isNaN(at)) return "";
  const seconds = Math.max(0, (now - at) / 1000);
  if (seconds < 45) return "now";
  if (seconds < hour) return `${Math.max(1, Math.round(seconds / minute))} min`;
  if (seconds < day) return `${Math.round(seconds / hour)} h`;
  if (seconds < 14 * day) return `${Math.round(seconds / day)} d`;
  return new Date(at).toLocaleDateString();
}

export function clock(time) {
  const at = Date.parse(time);
  if (Number.isNaN(at)) return "";
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** A time in full, for a tooltip. */
export function full(time) {
  const at = Date.parse(time);
  return Number.isNaN(at) ? "" : new Date(at).toLocaleString();
}

export function span(milliseconds) {
  if (!(milliseconds >= 0)) return "";
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < minute) return `${seconds.toFixed(1)} s`;
  if (seconds < hour) return `${Math.floor(seconds / minute)} min ${Math.round(seconds % minute)} s`;
  return `${Math.floor(seconds / hour)} h ${Math.round((seconds % hour) / minute)} min`;
}

export function count(n) {
  if (typeof n !== "number" || !Number.isFinite(n)) return "–";
  if (n < 1000) return String(n);
  if (n < 1e6) return `${(n / 1000).toFixed(n < 1e4 ? 1 : 0)}k`;
  return `${(n / 1e6).toFixed(1)}M`;
}

const names = {
  active: "Ready",
  waiting_input: "Waiting for you",
  streaming: "Working",
  cancelling: "Stopping",
  completed: "Closed",
};

export function sessionState(state) {
  return names[state] ?? words(state);
}

export function words(name) {
  const text = String(name ?? "").replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function json(value) {
  try {
    return JSON.stringify(value, null, 2) ?? "";
  } catch {
    return String(value);
  }
}
