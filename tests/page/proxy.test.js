// Pages behind real proxies: the blocks of the guide, a path prefix, and proxies that pass no WebSockets on.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { GuardedServer } from "./door.js";
import { RealServer, row, rowText, someLines, startBrowser, until, untilVisible } from "./harness.js";
import { block, isInstalled, reserve, startProxy } from "./proxies.js";

const run = promisify(execFile);
const KINDS = ["nginx", "caddy", "haproxy", "apache"];
let browser;
before(async () => {
  browser = await startBrowser();
});
after(async () => {
  await browser?.stop();
  assert.deepEqual(browser.errors, [], "no page had a script error");
  assert.deepEqual(browser.violations, [], "no page broke its policy");
});

const untilText = (page, selector, part) =>
  until(page, ([s, p]) => document.querySelector(s)?.textContent.includes(p), [selector, part]);
const untilTransport = (page, name) => until(page, (wanted) => (document.documentElement.dataset.transport ?? "socket") === wanted, name);

/** Runs `check(url, server, restart)` with a server behind a proxy, which `restart(whileAway)` stops and starts again. */
async function behind(kind, text, path, check, { start = RealServer.start, flags = [] } = {}) {
  const { port, url } = await reserve(path);
  const server = await start.call(start === RealServer.start ? RealServer : GuardedServer, process.env.TASKTAIL_BIN, ["--public-url", url, ...flags]);
  const begin = () => startProxy(kind, text, port, new URL(server.url).host);
  let proxy;
  try {
    proxy = await begin();
    const restart = async (whileAway) => {
      await proxy.stop();
      await whileAway();
      proxy = await begin();
    };
    await check(url, server, restart);
  } finally {
    await proxy?.stop();
    await server.stop();
  }
}

/** Follows a log on its page, and leaves it by the links of the page. */
async function followAt(url, server) {
  await server.append("live", someLines(3));
  const page = await browser.newPage();
  await page.goto(`${url}/tasks/live`);
  await untilVisible(page, 3);
  await untilTransport(page, "socket");
  await server.append("live", someLines(1, 4));
  await untilVisible(page, 4);
  await untilText(page, "#link", "live");
  await page.locator("a.brand").click();
  await page.locator("#tasks a").first().click();
  await untilVisible(page, 4);
  assert.equal(page.url(), `${url}/tasks/live`);
  await page.context().close();
}

for (const kind of KINDS) {
  test(`${kind} as in the guide`, { skip: !isInstalled(kind) }, async () => {
    await behind(kind, await block(kind), "", followAt);
  });

  test(`${kind} below a path`, { skip: !isInstalled(kind) }, async () => {
    await behind(kind, await block(`${kind} prefix`), "/logs", async (url, server) => {
      await followAt(url, server);
      const page = await browser.newPage();
      await page.goto(url);
      await page.locator('#tasks a').first().click();
      await untilVisible(page, 4);
      await page.context().close();
    });
  });
}

for (const kind of KINDS) {
  test(`a restart of ${kind}: pages resume, and no line is lost or repeated`, { skip: !isInstalled(kind) }, async () => {
    await behind(kind, await block(kind), "", async (url, server, restart) => {
      await server.append("live", someLines(3));
      await server.events("bench", [{ event_type: "step.started", step_id: "one", actor: "a", attempt: 0 }]);
      const [page, runPage] = [await browser.newPage(), await browser.newPage()];
      await page.goto(`${url}/tasks/live`);
      await runPage.goto(`${url}/runs/bench`);
      await untilVisible(page, 3);
      await untilVisible(runPage, 1);
      await restart(async () => {
        for (const one of [page, runPage]) await untilText(one, "#link", "offline");
        await server.append("live", someLines(2, 4));
        await server.events("bench", [{ event_type: "step.failed", step_id: "one", actor: "a", attempt: 0 }]);
      });
      await untilVisible(page, 5);
      await untilVisible(runPage, 2);
      await server.append("live", someLines(1, 6));
      await untilVisible(page, 6);
      await untilTransport(page, "socket");
      await untilTransport(runPage, "socket");
      assert.deepEqual(await page.locator(".row[data-n]").evaluateAll((rows) => rows.map((one) => one.dataset.n)), ["1", "2", "3", "4", "5", "6"]);
      for (const one of [page, runPage]) await one.context().close();
    });
  });
}

test("an address that does not exist, below a path: the page leads back", { skip: !isInstalled("nginx") }, async () => {
  await behind("nginx", await block("nginx prefix"), "/logs", async (url, server) => {
    await server.append("live", someLines(1));
    const page = await browser.newPage();
    const response = await page.goto(`${url}/nowhere`);
    assert.equal(response.status(), 404);
    await page.locator("a").first().click();
    await page.locator("#tasks a").first().click();
    await untilVisible(page, 1);
    assert.equal(page.url(), `${url}/tasks/live`);
    await page.context().close();
  });
});

test("a proxy that keeps the path", { skip: !isInstalled("nginx") }, async () => {
  const kept = (await block("nginx prefix")).replace("127.0.0.1:7117/;", "127.0.0.1:7117;");
  await behind("nginx", kept, "/logs", followAt);
});

test("a path that the server does not know", { skip: !isInstalled("nginx") }, async () => {
  const { port, url } = await reserve("/logs");
  const server = await RealServer.start(process.env.TASKTAIL_BIN);
  const proxy = await startProxy("nginx", await block("nginx prefix"), port, new URL(server.url).host);
  await followAt(url, server);
  await proxy.stop();
  await server.stop();
});

test("sign-in, share links and commands below a path", { skip: !isInstalled("nginx") }, async () => {
  const check = async (url, server) => {
    await server.append("live", someLines(3));
    const page = await browser.newPage();
    await page.goto(`${url}/tasks/live`);
    await page.fill("#token", server.token);
    await page.click("#sign-in button");
    await untilVisible(page, 3);
    assert.equal(page.url(), `${url}/tasks/live`);
    const [cookie] = await page.context().cookies();
    assert.equal(cookie.path, "/logs", "other programs of the host do not receive the session");
    await page.click("#share-open");
    await page.click("#share-make");
    await until(page, () => document.getElementById("share-url").value !== "");
    const link = await page.inputValue("#share-url");
    assert.ok(link.startsWith(`${url}/tasks/live#share=`), link);
    const stranger = await browser.newPage();
    await stranger.goto(link);
    await untilVisible(stranger, 3);
    await stranger.context().close();
    await page.keyboard.press("Escape");
    await page.click("#sign-out");
    await page.waitForURL(`${url}/login?*`);
    assert.deepEqual(await page.context().cookies(), []);
    await page.context().close();
    const env = { ...process.env, HOME: server.data, TASKTAIL_URL: url, TASKTAIL_TOKEN: server.token };
    const ran = await run(process.env.TASKTAIL_BIN, ["run", "--task", "made", "--", "echo", "through the proxy"], { env });
    assert.ok(ran.stderr.includes(`${url}/tasks/made`), ran.stderr);
    const followed = await run(process.env.TASKTAIL_BIN, ["follow", "made"], { env });
    assert.ok(followed.stdout.includes("through the proxy"), followed.stdout);
  };
  await behind("nginx", await block("nginx prefix"), "/logs", check, { start: GuardedServer.start });
});

// The block that most people copy.
const BARE = "server { listen 80; location / { proxy_pass http://127.0.0.1:7117; } }";

/** Runs `check(url, server)` with nginx before a server that knows nothing of it. */
async function behindNginx(text, check) {
  const { port, url } = await reserve();
  const server = await RealServer.start(process.env.TASKTAIL_BIN);
  const proxy = await startProxy("nginx", text, port, new URL(server.url).host);
  try {
    await check(url, server);
  } finally {
    await proxy.stop();
    await server.stop();
  }
}

async function followOver(transport, words, url, server, first = 3) {
  await server.append("live", someLines(first));
  const page = await browser.newPage();
  await page.goto(`${url}/tasks/live`);
  await untilVisible(page, first);
  await untilTransport(page, transport);
  await untilText(page, "#link", words);
  await server.append("live", someLines(2000, first + 1));
  await untilVisible(page, first + 2000);
  await until(page, () => document.getElementById("link").title !== "");
  const reason = await page.locator("#link").getAttribute("title");
  await server.end("live", 0);
  await untilText(page, "#state", "exit 0");
  assert.equal(await page.locator(".row[data-n]").evaluateAll((rows) => new Set(rows.map((row) => row.dataset.n)).size === rows.length), true);
  await page.context().close();
  const late = await browser.newPage();
  await late.goto(`${url}/tasks/live`);
  await untilVisible(late, first + 2000);
  await untilText(late, "#state", "exit 0");
  await late.context().close();
  return reason;
}

test("nginx without Upgrade: the page is live over SSE", { skip: !isInstalled("nginx") }, async () => {
  await behindNginx(BARE, async (url, server) => {
    const reason = await followOver("sse", "live over SSE", url, server);
    assert.match(reason, /proxy_set_header Host \$http_host;/);
  });
});

const STORING = BARE.replace("proxy_pass", "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering; proxy_buffers 64 64k; proxy_pass");

// The start of a long log passes at once.
for (const first of [3, 1500]) {
  test(`nginx that stores responses: the page of ${first} lines polls`, { skip: !isInstalled("nginx") }, async () => {
    const check = async (url, server) => {
      const reason = await followOver("polling", "live by polling", url, server, first);
      assert.match(reason, /proxy_buffering off;/);
    };
    await behindNginx(STORING, check);
  });

  test(`nginx that stores responses: the page of a run of ${first} events polls`, { skip: !isInstalled("nginx") }, async () => {
    const events = (count, from) => Array.from({ length: count }, (_, i) => ({ event_type: "step.failed", step_id: `s${from + i}`, actor: "a", attempt: 0 }));
    await behindNginx(STORING, async (url, server) => {
      await server.events("bench", events(first, 1));
      const page = await browser.newPage();
      await page.goto(`${url}/runs/bench`);
      await untilText(page, "#link", "live by polling");
      assert.match(await page.getAttribute("#link", "title"), /proxy_buffering off;/);
      await untilVisible(page, first);
      await server.events("bench", events(20, first + 1));
      await untilVisible(page, first + 20);
      assert.equal(await row(page, first + 20).locator(".who").textContent(), `s${first + 20}`);
      await page.context().close();
    });
  });
}

test("nginx without Upgrade: the page of a run is live", { skip: !isInstalled("nginx") }, async () => {
  await behindNginx(BARE, async (url, server) => {
    const page = await browser.newPage();
    await page.goto(`${url}/runs/bench?wait=1`);
    await untilText(page, "#notice", "Waiting for the run to start");
    await server.events("bench", [{ event_type: "step.started", step_id: "one", actor: "a", attempt: 0 }]);
    await untilVisible(page, 1);
    assert.equal(await page.textContent("#link"), "");
    await page.context().close();
  });
});

test("a Host without its port: the page reports it", { skip: !isInstalled("nginx") }, async () => {
  const upgrade = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; ";
  const hostless = BARE.replace("proxy_pass", `${upgrade}proxy_set_header Host $host; proxy_pass`);
  await behindNginx(hostless, async (url, server) => {
    const reason = await followOver("sse", "live over SSE", url, server);
    assert.ok(reason.includes(`the page of this request is at ${url}`), reason);
    assert.match(reason, /nginx: proxy_set_header Host \$http_host;/);
  });
});

test("a page stays with WebSockets when the server restarts", { skip: !isInstalled("nginx") }, async () => {
  await behind("nginx", await block("nginx"), "", async (url, server) => {
    await server.append("live", someLines(3));
    const page = await browser.newPage();
    await page.goto(`${url}/tasks/live`);
    await untilVisible(page, 3);
    await server.away();
    await untilText(page, "#link", "offline");
    await server.back();
    await server.append("live", someLines(1, 4));
    await untilVisible(page, 4);
    await untilTransport(page, "socket");
    assert.equal(await rowText(page, 4).textContent(), "line 4 of the log");
    assert.equal(await row(page, 4).count(), 1);
    await page.context().close();
  });
});
