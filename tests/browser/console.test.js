// The console in a real browser, against a running reeve.
//
//   REEVE_URL=http://127.0.0.1:7300 REEVE_KEY=rk_… npm test
//
// CHROMIUM names the browser (default /usr/bin/chromium), SHOTS a directory for the screenshots.

import assert from "node:assert/strict";
import { mkdtemp } from "node:fs/promises";
import { createServer, request as forward } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { chromium } from "playwright-core";

const url = process.env.REEVE_URL;
const key = process.env.REEVE_KEY;
if (!url || !key) throw new Error("REEVE_URL and REEVE_KEY say which reeve to test");

const answer = 20_000;
const sizes = { phone: { width: 390, height: 844 }, desk: { width: 1280, height: 800 } };
const hostile = 'Reply <img src=x onerror="window.owned=1"> <script>window.owned=1</script> [go](javascript:window.owned=1) **bold**';

let browser;
let shots;
let line;

/** A line to reeve that can be cut. */
async function wire() {
  const target = new URL(url);
  const open = new Set();
  const server = createServer((request, response) => {
    if (line.down) return response.writeHead(502).end();
    const headers = { ...request.headers, host: target.host };
    if (headers.origin) headers.origin = target.origin;
    const onward = forward({ host: target.hostname, port: target.port || 80, path: request.url, method: request.method, headers });
    onward.on("response", (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      response.flushHeaders();
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  server.on("upgrade", (request, socket, head) => {
    if (line.down) return socket.destroy();
    const headers = { ...request.headers, host: target.host };
    if (headers.origin) headers.origin = target.origin;
    const onward = forward({ host: target.hostname, port: target.port || 80, path: request.url, method: "GET", headers });
    onward.on("upgrade", (answer, beyond, first) => {
      const lines = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join("")}\r\n`);
      socket.write(first);
      beyond.write(head);
      beyond.pipe(socket).pipe(beyond);
      for (const [one, other] of [[socket, beyond], [beyond, socket]]) {
        one.on("error", () => other.destroy());
        one.on("close", () => other.destroy());
      }
    });
    for (const ended of ["response", "error"]) onward.on(ended, () => socket.destroy());
    onward.end();
  });
  server.on("connection", (socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = () => open.forEach((socket) => socket.destroy());
  return { url: `http://127.0.0.1:${server.address().port}`, down: false, cut, close: () => (server.close(), cut()) };
}

async function api(method, path, body) {
  const response = await fetch(new URL(path, url), {
    method,
    headers: { authorization: `Bearer ${key}`, accept: "application/json", ...(body && { "content-type": "application/json" }) },
    body: body && JSON.stringify(body),
  });
  const said = await response.text();
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${said}`);
  return said ? JSON.parse(said) : null;
}

/** A page that notes everything a browser complains about. */
async function open(size, colorScheme, at) {
  const context = await browser.newContext({ viewport: sizes[size], colorScheme, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(answer);
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(new URL(at, line.url).href);
  return { context, page, complaints };
}

const state = (page, name) => page.locator(`[data-state="${name}"]`).waitFor();
const count = (page, selector, text) => page.locator(selector, { hasText: text }).count();

async function prompt(page, text) {
  await page.getByLabel("Prompt", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

async function fits(page) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(over <= 0, `the page is ${over} px too wide`);
}

before(async () => {
  shots = process.env.SHOTS ?? (await mkdtemp(join(tmpdir(), "reeve-browser-")));
  console.log(`screenshots: ${shots}`);
  line = await wire();
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
  });
});

after(async () => {
  await browser?.close();
  line?.close();
});

test("the page comes with a strict policy", async () => {
  const response = await fetch(url);
  assert.equal(response.status, 200);
  const policy = response.headers.get("content-security-policy");
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
  assert.equal(response.headers.get("x-content-type-options"), "nosniff");
  assert.equal(response.headers.get("referrer-policy"), "no-referrer");
});

test("without a working key there is a form that says why", async () => {
  const { context, page } = await open("phone", "light", "/");
  await page.getByLabel("API key").fill("rk_wrong");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").filter({ hasText: /./ }).waitFor();
  await page.screenshot({ path: join(shots, "sign-in.png") });
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "New session" }).first().waitFor();
  await context.close();
});

for (const [size, scheme] of [["desk", "light"], ["phone", "dark"]]) {
  describe(`${size}, ${scheme}`, () => {
    const title = `Browser ${size} ${Date.now()}`;
    let session;
    let context;
    let page;
    let complaints;

    before(async () => {
      const agent = await api("POST", "/v1/agents", { name: `echo ${size}`, driver: "acp" });
      session = await api("POST", "/v1/sessions", { agentId: agent.id, title });
      ({ context, page, complaints } = await open(size, scheme, `/#key=${encodeURIComponent(key)}`));
    });

    after(() => context?.close());

    test("the address signs in and does not keep the key", async () => {
      await page.locator("a.entry", { hasText: title }).waitFor();
      assert.doesNotMatch(page.url(), /key=/);
      await fits(page);
      await page.screenshot({ path: join(shots, `${size}-list.png`) });
    });

    test("the session is in the list and opens", async () => {
      await page.locator("a.entry", { hasText: title }).click();
      await page.getByText("Nothing said yet").waitFor();
      assert.match(page.url(), new RegExp(`session=${session.id}`));
    });

    test("a prompt is answered as it streams", async () => {
      await prompt(page, `hello from the ${size}`);
      await page.locator(".row.agent", { hasText: `hello from the ${size}` }).waitFor();
      await state(page, "waiting_input");
      await page.locator(".end.completed").waitFor();
      assert.equal(await count(page, ".row.user", `hello from the ${size}`), 1);
      assert.equal(await count(page, ".row.agent", `hello from the ${size}`), 1);
    });

    test("what an agent says is never code", async () => {
      await prompt(page, hostile);
      await page.locator(".row.agent strong", { hasText: "bold" }).waitFor();
      await page.locator(".end.completed").nth(1).waitFor();
      assert.equal(await page.evaluate(() => window.owned), undefined);
      assert.equal(await page.locator(".timeline img, .timeline script, .timeline a[href^='javascript']").count(), 0);
    });

    test("a run that waits is cancelled", async () => {
      await prompt(page, "!wait");
      const cancel = page.getByRole("button", { name: "Cancel run" });
      await cancel.waitFor();
      await page.getByText("Working…", { exact: true }).waitFor();
      await fits(page);
      await page.screenshot({ path: join(shots, `${size}-running.png`) });
      if (size === "desk") await page.keyboard.press("Escape");
      else await cancel.click();
      await page.locator(".end.cancelled").waitFor();
      await state(page, "waiting_input");
      assert.equal(await cancel.count(), 0);
    });

    test("after a reload it goes on without doubles", async () => {
      const rows = await page.locator(".row").allInnerTexts();
      await page.reload();
      await page.locator(".end.cancelled").waitFor();
      assert.deepEqual(said(await page.locator(".row").allInnerTexts()), said(rows));
      await prompt(page, "once more");
      await page.locator(".end.completed").nth(2).waitFor();
      assert.equal(await count(page, ".row.user", "once more"), 1);
      assert.equal(await count(page, ".row.agent", "once more"), 1);
      const events = await api("GET", `/v1/sessions/${session.id}/events?after=0&limit=100`);
      assert.deepEqual(events.items.map(({ seq }) => seq), events.items.map((_, at) => at + 1));
    });

    test("a connection that breaks is taken up again", async () => {
      await prompt(page, "!wait again");
      await page.locator(".row.user:not(.waiting)", { hasText: "!wait again" }).waitFor();
      await page.getByText("Working…", { exact: true }).waitFor();
      const rows = await page.locator(".row").count();
      line.down = true;
      line.cut();
      await page.getByText("Connection lost").waitFor();
      await page.screenshot({ path: join(shots, `${size}-lost.png`) });
      // It ends while nobody watches.
      await api("POST", `/v1/sessions/${session.id}/cancel`);
      line.down = false;
      await page.getByText("Connection lost").waitFor({ state: "detached" });
      await page.locator(".end.cancelled").nth(1).waitFor();
      await state(page, "waiting_input");
      // The line "Working…" went, the end of the run came.
      assert.equal(await page.locator(".row").count(), rows);
      assert.equal(await count(page, ".row.user", "!wait again"), 1);
      for (let at = complaints.length - 1; at >= 0; at -= 1) {
        if (/net::ERR_|status of 502/.test(complaints[at])) complaints.splice(at, 1);
      }
    });

    test("an agent that asks gets its answer", async () => {
      const agent = await api("POST", "/v1/agents", { name: `asks ${size}`, driver: "acp", permissions: "ask" });
      const asks = await api("POST", "/v1/sessions", { agentId: agent.id, title: `Asks ${title}` });
      await page.goto(new URL(`#session=${asks.id}`, page.url()).href);
      await page.getByText("Nothing said yet").waitFor();
      await prompt(page, "!permission");
      const question = page.getByRole("group", { name: "The agent asks for permission" });
      await question.waitFor();
      await fits(page);
      await page.screenshot({ path: join(shots, `${size}-asks.png`) });
      await question.getByRole("button", { name: "Yes" }).click();
      await page.locator(".end.completed").waitFor();
      assert.equal(await question.count(), 0);
    });

    test("an agent that wants to know something is told", async () => {
      const agent = await api("POST", "/v1/agents", { name: `elicits ${size}`, driver: "acp" });
      const elicits = await api("POST", "/v1/sessions", { agentId: agent.id, title: `Elicits ${title}` });
      await page.goto(new URL(`#session=${elicits.id}`, page.url()).href);
      await page.getByText("Nothing said yet").waitFor();
      await prompt(page, "!elicit form");
      const form = page.getByRole("form", { name: "The agent asks for an answer" });
      await form.getByLabel("Your name").fill("Ada");
      await form.getByLabel("How old").fill("36");
      await form.getByLabel("Colour").selectOption("green");
      await form.getByLabel("Tea").check();
      await form.getByLabel("Remember me").check();
      await fits(page);
      await page.screenshot({ path: join(shots, `${size}-elicits.png`) });
      await form.getByRole("button", { name: "Answer" }).click();
      await page.locator(".end.completed").waitFor();
      const content = { name: "Ada", age: 36, colour: "green", drinks: ["tea"], remember: true };
      const heard = await page.locator(".row.agent").last().innerText();
      assert.deepEqual(JSON.parse(heard.slice(heard.indexOf("{"))), { action: "accept", content });
      assert.equal(await form.count(), 0);

      await prompt(page, "!elicit url");
      assert.equal(await form.getByRole("link").getAttribute("href"), "https://example.com/login");
      await form.getByRole("button", { name: "Decline" }).click();
      await page.locator(".end.completed").nth(1).waitFor();
      await page.getByText("Answered: Decline").waitFor();
    });

    test("nothing was refused and nothing failed", async () => {
      await fits(page);
      await page.screenshot({ path: join(shots, `${size}-session.png`) });
      assert.deepEqual(complaints, []);
    });
  });
}

/** Rows without what comes later than the event: token counts, and the words for screen readers. */
function said(rows) {
  return rows.map((row) => row.replace(/\S+ in, \S+ out/g, "").replace(/\s+/g, " ").trim());
}
