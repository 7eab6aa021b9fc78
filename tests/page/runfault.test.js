// What the page of a run does when something goes wrong, against a server that does wrong on demand.

import assert from "node:assert/strict";
import { test } from "node:test";
import { row, rowText, until, untilVisible } from "./harness.js";
import { browser, openRun as open, server, setUpMock, untilText } from "./setup.js";

setUpMock();

const log = (message, more = {}) => ({ host: "h1", workload: "fio", repetition: 1, status: "running", type: "log", level: "INFO", message, ...more });
const words = ["alpha", "beta", "gamma", "delta"];
const mixed = (count, first = 1) => Array.from({ length: count }, (_, i) => log(`${words[(first + i) % 4]} ${first + i}`));

test("a cut stream continues after the last event", async () => {
  server.runs.append("cut", mixed(100));
  const page = await open("cut");
  await untilVisible(page, 100);
  server.runs.cut();
  await untilText(page, "#event-state", "offline (retry in");
  server.runs.append("cut", mixed(20, 101));
  await untilVisible(page, 120);
  const again = server.runs.opened.filter((stream) => stream.id === "cut").at(-1);
  assert.equal(again.after, server.runs.make("cut").cursor(100));
  await until(page, () => document.documentElement.dataset.connection === "live");
  assert.equal(await page.locator('.row[data-n="100"]').count(), 1);
});

test("a stream that is refused is opened again after the last event", async () => {
  server.runs.append("refused", mixed(10));
  const page = await open("refused");
  await untilVisible(page, 10);
  server.runs.refuse = 503;
  server.runs.cut();
  await until(page, () => document.documentElement.dataset.connection === "offline");
  await until(page, () => window.performance.getEntriesByType("resource").filter((entry) => entry.name.includes("after=")).length > 0);
  server.runs.append("refused", mixed(5, 11));
  server.runs.refuse = null;
  await untilVisible(page, 15);
  const again = server.runs.opened.filter((stream) => stream.id === "refused").at(-1);
  assert.equal(again.after, server.runs.make("refused").cursor(10));
  assert.equal(await page.locator(".row").count(), 15);
});

test("a click on the offline mark retries at once", async () => {
  server.runs.append("click", mixed(10));
  const page = await open("click");
  await untilVisible(page, 10);
  // The page's own attempts never begin.
  await page.evaluate(() => {
    const { setTimeout } = window;
    window.setTimeout = (run, ms, ...rest) => (ms >= 300 ? 0 : setTimeout(run, ms, ...rest));
  });
  server.runs.cut();
  await until(page, () => document.documentElement.dataset.connection === "offline");
  await page.click("#link");
  await until(page, () => document.documentElement.dataset.connection === "live");
});

const untilPolling = async (page) => {
  await untilText(page, "#link", "live by polling");
  assert.match(await page.getAttribute("#link", "title"), /proxy_buffering off/);
};

for (const storing of ["all", "head"]) {
  test(`a proxy that stores ${storing === "all" ? "the stream" : "all but the start of the stream"}: the page polls`, async () => {
    const id = `stored-${storing}`;
    server.runs.storing = storing;
    server.runs.append(id, mixed(1500));
    const page = await open(id);
    await untilPolling(page);
    await untilVisible(page, 1500);
    server.runs.append(id, mixed(4500, 1501));
    await untilVisible(page, 6000);
    await page.keyboard.press("g");
    await untilVisible(page, 1);
    assert.equal(await rowText(page, 3).textContent(), "delta 3");
    assert.equal(await row(page, 3).count(), 1);
    server.runs.replaceLog(id, [log("another log")]);
    await until(page, () => document.querySelectorAll(".row").length === 1);
    assert.equal(await rowText(page, 1).textContent(), "another log");
    server.runs.runs.delete(id);
    await until(page, () => document.querySelectorAll(".row").length === 0);
    server.runs.append(id, mixed(2));
    await untilVisible(page, 2);
  });
}

test("a page that polls notices that the server is away, and that its access ended", async () => {
  server.runs.storing = "all";
  server.runs.append("polled", mixed(10));
  const page = await open("polled");
  await untilPolling(page);
  await untilVisible(page, 10);
  await server.away();
  await untilText(page, "#link", "offline (retry in");
  await server.back();
  server.runs.append("polled", mixed(5, 11));
  await untilVisible(page, 15);
  await untilPolling(page);
  server.runs.refuse = 401;
  await until(page, () => document.documentElement.dataset.connection === "signed_out");
});

test("events that are sent twice are shown once", async () => {
  server.runs.append("twice", mixed(10));
  const page = await open("twice");
  await untilVisible(page, 10);
  const run = server.runs.make("twice");
  for (const stream of server.runs.streams) {
    for (const n of [8, 9, 10]) stream.write(`id: ${run.cursor(n)}\ndata: ${JSON.stringify(run.events[n - 1])}\n\n`);
    stream.write(": a comment\n\nid: c1.1.1.b.1-1\ndata: this is no event\n\n");
  }
  server.runs.append("twice", mixed(2, 11));
  await untilVisible(page, 12);
  assert.equal(await page.locator(".row").count(), 12, "twelve events, each once");
});

test("a reset empties the page and starts again", async () => {
  server.runs.append("reset", mixed(50));
  server.runs.make("reset").state = { journal: [{ host: "h1", workload: "fio", repetition: 1, total_repetitions: 1, status: "running", action: "old" }] };
  const page = await open("reset");
  await untilVisible(page, 50);
  await untilText(page, "#repetitions", "old");
  server.runs.replaceLog("reset", [log("another log")]);
  await until(page, () => document.querySelectorAll(".row").length === 1);
  assert.equal(await rowText(page, 1).textContent(), "another log");
  await until(page, () => document.getElementById("repetitions").hidden);
});

test("a reset while away is noticed too", async () => {
  server.runs.append("reset2", mixed(50));
  const page = await open("reset2");
  await untilVisible(page, 50);
  await server.away();
  server.runs.replaceLog("reset2", mixed(3000, 7));
  await server.back();
  await untilVisible(page, 3000);
  await page.keyboard.press("g");
  await until(page, () => document.querySelector('.row[data-n="1"] .text')?.textContent === "delta 7");
});

test("a viewer far behind starts with the newest, and the rest is loaded on demand", async () => {
  server.runs.append("far", mixed(100));
  const page = await open("far");
  await untilVisible(page, 100);
  await server.away();
  server.runs.append("far", mixed(60_000, 101));
  await server.back();
  await untilVisible(page, 60_100);
  await page.keyboard.press("g");
  await untilVisible(page, 1);
  assert.equal(await rowText(page, 3).textContent(), "delta 3");
  assert.ok((await page.locator(".row").count()) < 400);
});

test("states: a run that is waited for, one without events, no access", async () => {
  const page = await open("soon?wait=1");
  await untilText(page, "#notice", "Waiting for the run to start");
  await untilText(page, "#event-state", "waiting for the first event");
  server.runs.append("soon", []);
  await page.reload();
  await untilText(page, "#notice", "Waiting for the first event");
  server.runs.append("secret", mixed(3));
  server.refuse = 403;
  server.runs.refuse = 403;
  const secret = await open("secret");
  await untilText(secret, "#notice", "No access");
  await untilText(secret, "#state", "no access");
});

test("a server unreachable at the start is reported and found later", async () => {
  server.runs.append("away", mixed(5));
  server.runs.refuse = 503;
  const page = await open("away");
  await untilText(page, "#notice", "Offline");
  assert.match(await page.textContent("#link"), /offline \(retry in \d+ s\)/);
  server.runs.refuse = null;
  await untilVisible(page, 5);
});

test("the chain of hops shows where events vanish", async () => {
  const hop = (name, more = {}) => ({ hop: name, received: 0, parsed: 0, rejected: {}, deduplicated: 0, stored: 0, delivered: 0, dropped: 0, last: null, last_error: null, ...more });
  server.runs.append("hops", mixed(3));
  server.runs.make("hops").state = { warnings: ["events for repetition 5 of 3 on h1/fio"] };
  server.runs.ownPipeline = {
    hops: [
      hop("extraction", { received: 88, rejected: { not_json: 2 }, last_error: { at: new Date().toISOString(), message: 'it is not JSON: <img src=x onerror="window.hacked=1">' } }),
      hop("dedupe", { received: 86, deduplicated: 43 }),
      hop("runs_sse"),
    ],
  };
  server.runs.pipeline = {
    hops: [hop("worker_socket", { received: 1204, last_error: { at: new Date().toISOString(), message: "task:other, line 115" } })],
    runs_folder: "/srv/runs",
  };
  const page = await open("hops");
  await untilText(page, '[data-hop="extraction"]', "88 · ✗ 2 not_json");
  assert.match(await page.getAttribute('[data-hop="extraction"]', "class"), /\bbad\b/);
  assert.match(await page.getAttribute('[data-hop="runs_sse"]', "class"), /\bidle\b/);
  await untilText(page, '[data-hop="dedupe"]', "86 · 43 duplicates");
  await untilText(page, "#warnings", "events for repetition 5 of 3");
  await untilText(page, "#warnings", "extraction: it is not JSON: <img");
  assert.equal(await page.locator('[data-hop="worker_socket"]').count(), 0, "the server's counters are folded");
  assert.doesNotMatch(await page.textContent("main"), /task:other/, "and so are the errors of other runs");
  await page.click("#server-stages summary");
  await untilText(page, '[data-hop="worker_socket"]', "1,204");
  await untilText(page, "#server-errors", "task:other, line 115");
  await untilText(page, "#runs-folder", "/srv/runs");
  assert.equal(await page.locator("main img").count(), 0);
  server.runs.ownPipeline.hops[2].delivered = 43;
  await untilText(page, '[data-hop="runs_sse"]', "43");
});

test("the state is asked for at most four times a second, however many events come", async () => {
  server.runs.append("often", mixed(1));
  const page = await open("often");
  await untilVisible(page, 1);
  const asked = () => server.requests.filter((url) => url.pathname === "/api/v1/runs/often").length;
  const before = asked();
  const begun = Date.now();
  for (let i = 0; i < 100; i += 1) {
    server.runs.append("often", mixed(50, 2 + i * 50));
    await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 10)));
  }
  await untilVisible(page, 5001);
  const most = Math.ceil((Date.now() - begun) / 250) + 2;
  assert.ok(asked() - before <= most, `${asked() - before} times, at most ${most}`);
  assert.ok(asked() - before >= 2, "it is asked for while they come");
});

test("a journal of ten thousand repetitions is drawn, failures first", async () => {
  const one = (i) => ({ host: `host-${i}`, workload: "fio", repetition: 1, total_repetitions: 1, status: i % 1000 === 999 ? "failed" : "done", action: null, error: null, duration_s: 1 });
  server.runs.append("wide", mixed(3));
  server.runs.make("wide").state = { journal: Array.from({ length: 10_000 }, (_, i) => one(i)) };
  const page = await open("wide");
  await untilText(page, "#repetitions .more-rows", "and 9,700 more");
  assert.equal(await page.locator('#repetitions tr[data-state="failed"]').count(), 10);
  assert.equal(await page.locator("#repetitions tbody tr").count(), 300);
  assert.ok((await page.locator("#log").boundingBox()).height > 100, "the log keeps its place");
});

test("a phone shows all three panels", async () => {
  server.runs.append("phone", mixed(50));
  server.runs.make("phone").state = { journal: [{ host: "h1", workload: "fio", repetition: 1, total_repetitions: 3, status: "done", action: "x", duration_s: 2 }] };
  const page = await browser.newPage({ viewport: { width: 390, height: 800 }, hasTouch: true });
  await page.goto(`${server.url}/runs/phone`);
  await untilVisible(page, 50);
  for (const part of ["#repetitions .progress", "#event-state", "#log", "#query"]) {
    const { x, y, width, height } = await page.locator(part).first().boundingBox();
    assert.ok(x >= 0 && x + width <= 390 && y + height <= 800, `${part} is on the screen`);
  }
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
  assert.ok(await row(page, 50).locator(".text").isVisible());
});
