// Signing in, staying signed in, and being out, in a real browser against a server with tokens.

import assert from "node:assert/strict";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { GuardedServer, otherSite } from "./door.js";
import { RealServer, someLines, until, untilVisible } from "./harness.js";
import { browser, server, setUp, untilText } from "./setup.js";

const secrets = [];
setUp(() => GuardedServer.start(process.env.TASKTAIL_BIN));

const sessionOf = async (context) => (await context.cookies()).find(({ name }) => name.includes("tasktail_session"));

async function signIn(page, token, path = "/") {
  secrets.push(token);
  await page.goto(`${server.url}${path}`);
  await submit(page, token);
}

/** Sends the form and waits until the page that answers it is loaded: the page before may show the same words. */
async function submit(page, token) {
  await page.fill("#token", token);
  const loaded = page.waitForEvent("load");
  await page.click("#sign-in .primary");
  await loaded;
}

test("a page leads to the sign-in page, and from there back to the same line", async () => {
  await server.append("home", someLines(300));
  const token = await server.tokenFor("alice", "read");
  const page = await browser.newPage();
  await signIn(page, token, "/tasks/home#L120");
  await untilVisible(page, 120);
  assert.equal(new URL(page.url()).pathname, "/tasks/home");
  assert.equal(new URL(page.url()).hash, "#L120");
  assert.equal(await page.locator('.row.marked[data-n="120"]').count(), 1);
  await untilText(page, "#access .who", "alice");
  await untilText(page, "#access .who", "read");
});

test("the cookie is HttpOnly, SameSite=Strict, of limited life, and no script reads it", async () => {
  const token = await server.tokenFor("bob", "read");
  const page = await browser.newPage();
  await signIn(page, token);
  await until(page, () => location.pathname === "/");
  const cookie = await sessionOf(page.context());
  secrets.push(cookie.value);
  const { httpOnly, sameSite, secure, path, expires, value } = cookie;
  assert.deepEqual({ httpOnly, sameSite, secure, path }, { httpOnly: true, sameSite: "Strict", secure: false, path: "/" });
  assert.equal(value.length, 43, "256 bits");
  const life = expires - Date.now() / 1000;
  assert.ok(life > 11.9 * 3600 && life <= 12 * 3600, `${life} s`);
  assert.equal(await page.evaluate(() => document.cookie), "");
  const file = join(server.store, "sessions.json");
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.ok(!(await readFile(file, "utf8")).includes(value), "only its hash is kept");
});

test("a wrong, an expired and a revoked token are distinguished", async () => {
  const page = await browser.newPage();
  await signIn(page, "tt_nonsense", "/runs");
  await untilText(page, "#problem", "Invalid token");
  assert.equal(await page.inputValue("#token"), "", "what was typed does not come back");
  assert.equal(await page.inputValue("#next"), "/runs");
  const revoked = await server.tokenFor("gone", "read");
  await server.revoke("gone");
  await submit(page, revoked);
  await untilText(page, "#problem", "was revoked");
  const expired = await server.tokenFor("late", "read", "--expires", "1s");
  secrets.push(revoked, expired);
  await until(page, (then) => Date.now() > then, Date.now() + 1100);
  await submit(page, expired);
  await untilText(page, "#problem", "has expired");
  assert.equal(await sessionOf(page.context()), undefined);
});

test("without JavaScript one signs in too", async () => {
  const token = await server.tokenFor("plain", "read");
  const page = await browser.newPage({ javaScriptEnabled: false });
  await signIn(page, token, "/runs");
  await page.waitForURL(`${server.url}/runs`);
  assert.ok(await sessionOf(page.context()));
});

test("the sign-in does not redirect to another site", async () => {
  const token = await server.tokenFor("wary", "read");
  for (const next of ["//evil.example", "/\\evil.example", "https://evil.example/", "javascript:alert(1)", "/%09/evil.example", "%2F%09%2Fevil.example"]) {
    const page = await browser.newPage();
    const path = next.includes("%") ? next : encodeURIComponent(next);
    await signIn(page, token, `/login?next=${path}`);
    await untilText(page, "#access", "wary");
    assert.equal(new URL(page.url()).origin, server.url, next);
    await page.context().close();
  }
});

test("signed out: programs hear 401, pages redirect", async () => {
  for (const path of ["/api/v1/tasks", "/api/v1/tasks/home", "/api/v1/tasks/home/stream", "/api/v1/runs", "/metrics"]) {
    assert.equal((await server.ask(path, { token: null })).status, 401, path);
  }
  for (const path of ["/", "/tasks/home", "/runs", "/runs/x"]) {
    const response = await server.ask(path, { token: null, headers: { accept: "text/html" } });
    assert.equal(response.status, 303, path);
    assert.equal(decodeURIComponent(response.headers.get("location")), `/login?next=${path}`);
  }
  const page = await browser.newPage();
  await page.goto(`${server.url}/login`);
  assert.equal(await page.evaluate(() => new Promise((resolve) => {
    const socket = new WebSocket(`ws://${location.host}/ws/v1/tasks/home`);
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("refused");
  })), "refused");
});

test("a sign-out in one tab ends the other one live, and a sign-in resumes it", async () => {
  await server.append("tabs", someLines(10));
  const token = await server.tokenFor("carol", "read");
  const one = await browser.newPage();
  await signIn(one, token, "/tasks/tabs");
  await untilVisible(one, 10);
  const cookie = await sessionOf(one.context());
  const two = await browser.another(one.context());
  await two.goto(`${server.url}/tasks/tabs`);
  await untilVisible(two, 10);
  await two.bringToFront();
  await one.bringToFront();
  await one.click("#sign-out");
  await one.waitForURL(/\/login\?next=%2Ftasks%2Ftabs/);
  await untilText(two, "#lost", "You are signed out.");
  assert.equal(await two.locator("#sign-out").count(), 0);
  assert.equal(await sessionOf(one.context()), undefined, "the cookie is gone");
  const stolen = await server.ask("/api/v1/tasks", { token: null, headers: { cookie: `${cookie.name}=${cookie.value}` } });
  assert.equal(stolen.status, 401, "and of no use to whoever kept it");
  await server.append("tabs", someLines(5, 11));
  assert.equal(await two.locator('.row[data-n="11"]').count(), 0);
  await one.fill("#token", token);
  await one.click("#sign-in .primary");
  await untilVisible(one, 15);
  await two.bringToFront();
  await untilVisible(two, 15);
  assert.equal(await two.locator("#lost").count(), 0);
  await untilText(two, "#access .who", "carol");
});

test("a sign-in is not missed by a tab that asks the server at that moment", async () => {
  await server.append("asking", someLines(10));
  const token = await server.tokenFor("heidi", "read");
  const one = await browser.newPage();
  await signIn(one, token, "/tasks/asking");
  await untilVisible(one, 10);
  const two = await browser.another(one.context());
  await two.goto(`${server.url}/tasks/asking`);
  await untilVisible(two, 10);
  await one.click("#sign-out");
  await one.waitForURL(/\/login\?/);
  await untilText(two, "#lost", "You are signed out.");
  // The answer, that nobody is signed in, comes after the sign-in.
  let release;
  const released = new Promise((resolve) => (release = resolve));
  const asked = new Promise((resolve) => {
    two.route("**/api/v1/access*", async (route) => {
      const response = await route.fetch();
      resolve();
      await released;
      await route.fulfill({ response });
    }, { times: 1 });
  });
  await two.evaluate(() => {
    new BroadcastChannel("tasktail-access").onmessage = () => (window.told = true);
    dispatchEvent(new Event("focus"));
  });
  await asked;
  await submit(one, token);
  await until(two, () => window.told);
  release();
  await untilText(two, "#access .who", "heidi");
  assert.equal(await two.locator("#lost").count(), 0);
});

test("a revoked token: the open pages say so", async () => {
  await server.append("watched", someLines(10));
  await server.events("watched-run", [{ type: "status", state: "running" }]).catch(() => {});
  const token = await server.tokenFor("dave", "read");
  const task = await browser.newPage();
  await signIn(task, token, "/tasks/watched");
  await untilVisible(task, 10);
  const list = await browser.another(task.context());
  await list.goto(server.url);
  await list.locator('tr[data-id="watched"]').waitFor();
  const run = await browser.another(task.context());
  await run.goto(`${server.url}/runs/watched-run`);
  await until(run, () => document.documentElement.dataset.connection === "live");
  await server.revoke("dave");
  // Nothing else would report it before the socket breaks.
  await untilText(task, "#lost", "You are signed out.");
  await untilText(task, "#link", "signed out");
  await untilText(run, "body", "signed out");
  await untilText(list, "#lost", "You are signed out.");
  await task.click("#lost a");
  await task.locator("#sign-in").waitFor();
  assert.equal(await task.inputValue("#next"), "/tasks/watched");
});

test("a task without lines reports the sign-out", async () => {
  await server.start_task("silent");
  const token = await server.tokenFor("erin", "read");
  const page = await browser.newPage();
  await signIn(page, token, "/tasks/silent");
  await untilText(page, "#notice", "Waiting for the first line");
  await server.revoke("erin");
  await untilText(page, "#notice", "Signed out");
  assert.equal(await page.locator("#notice a.button").getAttribute("href"), "/login?next=%2Ftasks%2Fsilent");
});

test("a token's patterns hold for its session", async () => {
  await server.append("build-1", someLines(3));
  await server.append("deploy-1", someLines(3));
  const token = await server.tokenFor("builds", "read", "--task", "build-*");
  const page = await browser.newPage();
  await signIn(page, token);
  await page.locator('tr[data-id="build-1"]').waitFor();
  assert.equal(await page.locator('tr[data-id="deploy-1"]').count(), 0);
  await page.goto(`${server.url}/tasks/deploy-1`);
  await untilText(page, "#notice", "No such task");
});

test("a session outlives a restart of the server", async () => {
  await server.append("restart", someLines(5));
  const token = await server.tokenFor("frank", "read");
  const page = await browser.newPage();
  await signIn(page, token, "/tasks/restart");
  await untilVisible(page, 5);
  await server.away();
  await server.back();
  await server.append("restart", someLines(5, 6));
  await untilVisible(page, 10);
  assert.equal(await page.locator("#lost").count(), 0);
});

// The host name makes the other site another one altogether (`localhost`), or the same one on another
// port, whose requests carry the cookie although it is SameSite=Strict.
for (const host of ["localhost", "127.0.0.1"]) {
  test(`pages of another site (${host}) read nothing and change nothing`, async (t) => {
    const site = await otherSite(host);
    t.after(() => site.stop());
    const token = await server.tokenFor(`victim-${host}`, "admin");
    const page = await browser.newPage();
    await signIn(page, token);
    await untilText(page, "#access .who", `victim-${host}`);
    await page.goto(site.url);
    const outcome = await page.evaluate(async (url) => {
      const socket = await new Promise((resolve) => {
        const socket = new WebSocket(`${url.replace("http", "ws")}/ws/v1/tasks/home`);
        socket.onopen = () => resolve("open");
        socket.onerror = () => resolve("refused");
      });
      const post = (path, type, body) =>
        fetch(`${url}${path}`, { method: "POST", credentials: "include", mode: "no-cors", headers: { "content-type": type }, body });
      await post("/api/v1/tasks/forged/lines", "text/plain", "forged").catch(() => {});
      await post("/logout", "text/plain", "").catch(() => {});
      const read = await fetch(`${url}/api/v1/tasks`, { credentials: "include" }).then(() => "read", () => "refused");
      return { socket, read };
    }, server.url);
    assert.deepEqual(outcome, { socket: "refused", read: "refused" });
    assert.equal((await server.ask("/api/v1/tasks/forged")).status, 404);
    // A form is a navigation: its answer is shown, and it changed nothing.
    await page.evaluate(({ url, token }) => {
      const form = Object.assign(document.createElement("form"), { method: "post", action: `${url}/login` });
      form.append(Object.assign(document.createElement("input"), { name: "token", value: token }));
      document.body.append(form);
      form.submit();
    }, { url: server.url, token: server.token });
    await page.waitForURL(`${server.url}/login`);
    await untilText(page, "body", "bad_origin");
    await page.goto(server.url);
    await untilText(page, "#access .who", `victim-${host}`);
  });
}

test("a server without authentication is marked on each page", async () => {
  const open = await RealServer.start(process.env.TASKTAIL_BIN, ["--public-url", "https://logs.example", "--insecure"]);
  try {
    await open.append("t", someLines(3));
    const page = await browser.newPage();
    for (const path of ["/", "/tasks/t", "/runs/none"]) {
      await page.goto(`${open.url}${path}`);
      await untilText(page, "#exposed", "https://logs.example is served without access tokens (--insecure)");
      assert.equal(await page.locator("#exposed").count(), 1);
    }
    const guarded = await browser.newPage();
    await signIn(guarded, await server.tokenFor("careful", "read"));
    await untilText(guarded, "#access .who", "careful");
    assert.equal(await guarded.locator("#exposed").count(), 0);
  } finally {
    await open.stop();
  }
});

test("an injected script does not run on the sign-in page or after it", async () => {
  const token = await server.tokenFor("grace", "read");
  const page = await browser.newPage();
  const inject = () => page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.hacked = 1";
    document.body.append(script);
    const image = document.createElement("img");
    image.setAttribute("onerror", "window.hacked = 1");
    image.src = "data:,";
    document.body.append(image);
    return new Promise((resolve) => setTimeout(() => resolve(window.hacked), 100));
  });
  await page.goto(`${server.url}/login?next=%22%3E%3Cscript%3Ewindow.hacked%3D1%3C%2Fscript%3E`);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  const before = browser.violations.length;
  assert.equal(await inject(), undefined);
  await submit(page, token);
  await untilText(page, "#access", "grace");
  assert.equal(await inject(), undefined);
  // These were asked for.
  assert.ok(browser.violations.splice(before).length >= 2, "the browser names them");
});

test("too many wrong tokens are reported, and a valid one still signs in", async (t) => {
  const strict = await GuardedServer.start(process.env.TASKTAIL_BIN, ["--auth-failures-max", "2"]);
  t.after(() => strict.stop());
  const page = await browser.newPage();
  await page.goto(`${strict.url}/login`);
  for (const words of ["Invalid token", "Invalid token", "Too many invalid tokens"]) {
    await submit(page, "tt_wrong");
    await untilText(page, "#problem", words);
  }
  await submit(page, strict.token);
  await untilText(page, "#access", "root");
});

test("neither a token nor a session's id is in any trace", async () => {
  assert.ok(server.trace.includes("signed in"), "there is a trace");
  for (const secret of [...secrets, server.token].filter((secret) => secret !== "tt_nonsense")) {
    assert.ok(!server.trace.includes(secret) && !server.trace.includes(secret.slice(3)), "a secret is in the trace");
  }
});
