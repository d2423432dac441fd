// The API: requests with the key, problems as errors.

/** What the server (or the network) said when it did not do it. */
export class Problem extends Error {
  constructor(status, body = {}) {
    super(body.detail || body.title || `The server answered ${status}.`);
    this.status = status;
    this.code = body.code ?? null;
    this.title = body.title ?? null;
    this.errors = Array.isArray(body.errors) ? body.errors : [];
  }
}

async function problem(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // Not ours: a proxy's page, or nothing.
  }
  return new Problem(response.status, body && typeof body === "object" ? body : {});
}

/** A key for one intent, so that sending it again does not do it twice. */
export function intent() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Api {
  /** `onUnauthenticated(reason)` is told when the key stops working. */
  constructor(key, onUnauthenticated) {
    this.key = key;
    this.onUnauthenticated = onUnauthenticated;
  }

  async fetch(path, options = {}) {
    let response;
    try {
      response = await fetch(path, {
        ...options,
        headers: { authorization: `Bearer ${this.key}`, ...options.headers },
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, { title: "No connection", detail: "The server does not answer." });
    }
    if (response.ok) return response;
    const failure = await problem(response);
    failure.retryAfter = Number(response.headers.get("retry-after")) || 0;
    if (response.status === 401) this.onUnauthenticated(failure.message);
    throw failure;
  }

  async get(path, query = {}) {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      if (value !== null && value !== undefined && value !== "") parameters.set(name, value);
    }
    const suffix = parameters.size ? `?${parameters}` : "";
    const response = await this.fetch(path + suffix, { headers: { accept: "application/json" } });
    return response.json();
  }

  async post(path, body, idempotencyKey = intent()) {
    const headers = { accept: "application/json", "idempotency-key": idempotencyKey };
    if (body !== undefined) headers["content-type"] = "application/json";
    const response = await this.fetch(path, {
      method: "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    return text ? JSON.parse(text) : null;
  }
}

export const session = (id) => `/v1/sessions/${encodeURIComponent(id)}`;
