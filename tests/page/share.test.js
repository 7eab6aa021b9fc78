// Share links in a real browser: what they open, what they do not, and how they end.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { after, test } from "node:test";
import { GuardedServer, jwt, otherSite } from "./door.js";
import { RealServer, someLines, until, untilVisible } from "./harness.js";
import { browser, server, setUp, untilText } from "./setup.js";

const run = promisify(execFile);
let embedding;
const secrets = [];
setUp(async () => {
  // On another port of the same host: the browser sends it our cookie, SameSite=Strict or not.
  embedding = await otherSite("127.0.0.1");
  return GuardedServer.start(process.env.TASKTAIL_BIN, ["--allowed-origins", embedding.url, "--auth-failures-max", "1000"]);
});
after(() => embedding?.stop());

const shareOf = (url) => new URL(url).hash.slice("#share=".length);
const seconds = () => Math.floor(Date.now() / 1000);
const ticket = (id, claims, options) => `${server.url}/tasks/${id}#share=${jwt({ task: id, exp: seconds() + 600, ...claims }, options)}`;

test("a link opens its task live for a stranger, and nothing else", async () => {
  await server.append("shared", someLines(300));
  await server.append("secret", someLines(3));
  const url = await server.share("shared");
  secrets.push(shareOf(url));
  const page = await browser.newPage();
  const requests = [];
  page.on("request", (request) => requests.push(request));
  await page.goto(`${url}&L120`);
  await untilVisible(page, 120);
  assert.equal(page.url(), `${server.url}/tasks/shared#L120`, "the share has left the address bar");
  await page.keyboard.press("End");
  await server.append("shared", someLines(3, 301));
  await untilVisible(page, 303);
  await untilText(page, "#access", "shared link");
  assert.equal(await page.locator("#share-open").isVisible(), false);
  for (const request of requests) {
    assert.ok(!request.url().split("#")[0].includes(shareOf(url)), "the share is in no URL that is sent");
    assert.ok(!(request.headers().referer ?? "").includes(shareOf(url)), "nor in a Referer");
  }
  const [cookie] = await page.context().cookies();
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/"]);
  assert.equal(await page.evaluate(() => document.cookie), "");
  const answers = await page.evaluate(async () => {
    const status = async (path, options) => (await fetch(path, { redirect: "manual", ...options })).status;
    const socket = (path) => new Promise((resolve) => {
      const socket = new WebSocket(`ws://${location.host}${path}`);
      socket.onopen = () => resolve("open");
      socket.onerror = () => resolve("refused");
    });
    const post = { method: "POST", headers: { "content-type": "text/plain" }, body: "x" };
    const share = { method: "POST", headers: { "content-type": "application/json" }, body: "{}" };
    return {
      facts: await status("/api/v1/tasks/shared"),
      lines: await status("/api/v1/tasks/shared/lines"),
      log: await status("/api/v1/tasks/shared/log"),
      page: await status("/tasks/shared"),
      write: await status("/api/v1/tasks/shared/lines", post),
      end: await status("/api/v1/tasks/shared/end", { ...share, body: '{"exit_code":0}' }),
      remove: await status("/api/v1/tasks/shared", { method: "DELETE" }),
      pass_on: await status("/api/v1/tasks/shared/share", share),
      list: await status("/api/v1/tasks"),
      other: await status("/api/v1/tasks/secret"),
      other_lines: await status("/api/v1/tasks/secret/lines"),
      runs: await status("/api/v1/runs"),
      metrics: await status("/metrics"),
      pipeline: await status("/api/v1/pipeline"),
      own_socket: await socket("/ws/v1/tasks/shared"),
      other_socket: await socket("/ws/v1/tasks/secret"),
      worker_socket: await socket("/ws/v1/worker"),
      follow_socket: await socket("/ws/v1/follow"),
    };
  });
  const { facts, lines, log, page: own, own_socket, write, end, remove, pass_on, ...rest } = answers;
  assert.deepEqual({ facts, lines, log, own, own_socket }, { facts: 200, lines: 200, log: 200, own: 200, own_socket: "open" });
  for (const [name, status] of Object.entries({ write, end, remove, pass_on })) assert.equal(status, 403, name);
  for (const [name, status] of Object.entries(rest)) assert.ok([401, 403, 404, "refused"].includes(status), `${name}: ${status}`);
  await page.goto(server.url);
  await page.locator("#sign-in").waitFor();
});

test("two links in one browser both work", async () => {
  await server.append("left", someLines(5));
  await server.append("right", someLines(6));
  const left = await browser.newPage();
  await left.goto(await server.share("left"));
  await untilVisible(left, 5);
  const right = await browser.another(left.context());
  await right.goto(await server.share("right"));
  await untilVisible(right, 6);
  await left.reload();
  await untilVisible(left, 5);
});

test("a link ends at its time, live", async () => {
  await server.append("brief", someLines(5));
  const page = await browser.newPage();
  // Long enough to open the page on a loaded machine.
  const url = await server.share("brief", "6s");
  await page.goto(url);
  await untilVisible(page, 5);
  await untilText(page, "#lost", "This link has expired.");
  const late = await browser.newPage();
  await late.goto(url);
  await untilText(late, "#problem", "has expired");
  await late.locator("#sign-in").waitFor();
});

test("a link that was tampered with, cut short, or is of another task opens nothing", async () => {
  await server.append("tampered", someLines(5));
  await server.append("other", someLines(5));
  const url = await server.share("tampered");
  const share = shareOf(url);
  const at = 20;
  const flipped = share.slice(0, at) + (share[at] === "A" ? "B" : "A") + share.slice(at + 1);
  for (const bad of [`tampered#share=${flipped}`, `tampered#share=${share.slice(0, -1)}`, `other#share=${share}`, "tampered#share=x"]) {
    const page = await browser.newPage();
    await page.goto(`${server.url}/tasks/${bad}`);
    await untilText(page, "#problem", "not valid");
    assert.ok(!page.url().includes("share="), "it leaves the address bar too");
    assert.deepEqual(await page.context().cookies(), []);
    await page.context().close();
  }
});

test("a later task of the same name is not shared", async () => {
  await server.append("again", someLines(5));
  const page = await browser.newPage();
  const url = await server.share("again");
  await page.goto(url);
  await untilVisible(page, 5);
  await server.remove("again");
  await untilText(page, "#lost", "This link has expired.");
  await server.append("again", [{ line: "another secret" }]);
  const later = await browser.another(page.context());
  await later.goto(url);
  await untilText(later, "#problem", "not valid");
  const status = () => fetch("/api/v1/tasks/again/lines").then((response) => response.status);
  assert.equal(await page.evaluate(status), 401, "the cookie of the first one is of no use either");
  assert.ok(!(await page.content()).includes("another secret"));
});

test("deleting the key ends all links, including those in use", async () => {
  await server.append("rotated", someLines(5));
  const page = await browser.newPage();
  const url = await server.share("rotated");
  await page.goto(url);
  await untilVisible(page, 5);
  await rm(join(server.store, "share.key"));
  await untilText(page, "#lost", "This link has expired.");
  const other = await browser.newPage();
  await other.goto(url);
  await untilText(other, "#problem", "not valid");
  const anew = await browser.newPage();
  await anew.goto(await server.share("rotated"));
  await untilVisible(anew, 5);
});

test("another system's ticket opens its task", async () => {
  await server.append("ticket", someLines(5));
  const page = await browser.newPage();
  const url = ticket("ticket");
  secrets.push(shareOf(url));
  await page.goto(url);
  await untilVisible(page, 5);
  assert.equal(new URL(page.url()).hash, "");
  for (const [words, url] of [
    ["signature", ticket("ticket", {}, { secret: "another secret, which is long enough as well" })],
    ["signature", ticket("ticket", {}, { header: { alg: "none" } })],
    ["expired", ticket("ticket", { exp: seconds() - 60 })],
    ["further in the future", ticket("ticket", { exp: seconds() + 400 * 86_400 })],
    ["another task", ticket("ticket", { task: "shared" })],
    ["not valid yet", ticket("ticket", { nbf: seconds() + 300 })],
  ]) {
    const page = await browser.newPage();
    await page.goto(url);
    await untilText(page, "#problem", words);
    await page.context().close();
  }
});

test("without JavaScript the link names its requirement", async () => {
  await server.append("scriptless", someLines(5));
  const page = await browser.newPage({ javaScriptEnabled: false });
  await page.goto(await server.share("scriptless"));
  assert.match(await page.locator("noscript").innerText(), /share link.*JavaScript|JavaScript.*share link/s);
});

test("an administrator makes a link on the page, to the marked line", async () => {
  await server.append("ours", someLines(50));
  const page = await browser.newPage();
  await page.goto(`${server.url}/tasks/ours#L7`);
  await page.fill("#token", server.token);
  await page.click("#sign-in .primary");
  await untilVisible(page, 7);
  await page.click("#share-open");
  await page.click('[data-life="1d"]');
  await page.click("#share-make");
  await until(page, () => !document.getElementById("share-made").hidden);
  const url = await page.inputValue("#share-url");
  secrets.push(shareOf(url).split("&")[0]);
  assert.match(url, /#share=[\w-]{64,}&L7$/);
  await untilText(page, "#share-until", "Expires");
  const stranger = await browser.newPage();
  await stranger.goto(url);
  await untilVisible(stranger, 7);
  assert.equal(new URL(stranger.url()).hash, "#L7");
});

test("the command prints the link alone, and refuses too long a life", async (t) => {
  const open = await RealServer.start(process.env.TASKTAIL_BIN);
  t.after(() => open.stop());
  const share = (...words) => run(open.binary, ["--url", open.url, "share", ...words]);
  await open.append("by-command", someLines(5));
  const { stdout } = await share("by-command", "--expires", "2h");
  assert.match(stdout, /^http:\/\/127\.0\.0\.1:\d+\/tasks\/by-command#share=[\w-]{64}\n$/);
  await assert.rejects(share("by-command", "--expires", "999d"), /share_life_max/);
  await assert.rejects(share("nobody"), /nobody/);
  const page = await browser.newPage();
  await page.goto(stdout.trim());
  await untilVisible(page, 5);
  assert.equal(new URL(page.url()).hash, "", "where nobody is asked, the link is a link");
});

test("a page of an allowed origin reads with its token and no cookie", async () => {
  await server.append("embedded", someLines(5));
  const share = shareOf(await server.share("embedded"));
  const page = await browser.newPage();
  // Signed in here, in the same browser.
  await page.goto(`${server.url}/login`);
  await page.fill("#token", server.token);
  await page.click("#sign-in .primary");
  await untilText(page, "#access", "root");
  await page.goto(embedding.url);
  const outcome = await page.evaluate(async ({ url, share }) => {
    const status = (path, headers, options) =>
      fetch(`${url}${path}`, { headers, ...options }).then((response) => response.status, () => "refused");
    const first = (path, protocols) => new Promise((resolve) => {
      const socket = new WebSocket(`${url.replace("http", "ws")}${path}`, protocols);
      socket.onmessage = (event) => resolve(JSON.parse(event.data).type);
      socket.onerror = () => resolve("refused");
    });
    const shown = { "tasktail-share": share };
    return {
      facts: await status("/api/v1/tasks/embedded", shown),
      nothing: await status("/api/v1/tasks/embedded", {}, { credentials: "include" }),
      other: await status("/api/v1/tasks/shared", shown),
      write: await status("/api/v1/tasks/embedded/lines", { ...shown, "content-type": "text/plain" }, { method: "POST", body: "x" }),
      socket: await first("/ws/v1/tasks/embedded", ["tasktail.v1", `tasktail.share.${share}`]),
      bare_socket: await first("/ws/v1/tasks/embedded"),
      worker: await first("/ws/v1/worker", ["tasktail.v1", `tasktail.share.${share}`]),
    };
  }, { url: server.url, share });
  const { write, ...read } = outcome;
  // Credentials are never allowed, so an answer to a request with them is kept from the page.
  assert.deepEqual(read, { facts: 200, nothing: "refused", other: 401, socket: "open", bare_socket: "refused", worker: "refused" });
  assert.ok(write === "refused" || write === 403, `by the browser or by the server: ${write}`);
  assert.equal((await (await server.ask("/api/v1/tasks/embedded")).json()).lines, 5);
});

test("no share is in any trace", async () => {
  assert.ok(server.trace.length > 1000, "there is a trace");
  for (const secret of secrets) assert.ok(!server.trace.includes(secret), "a share is in the trace");
});
