// What a page does when something goes wrong, against a server that does wrong on demand.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TIMEOUT_MS, row, rowText, someLines, until, untilVisible, visibleNumbers } from "./harness.js";
import { openTask as open, server, setUpMock, untilText } from "./setup.js";

setUpMock();

test("an outage is shown, and each line appears once afterwards", async () => {
  await server.append("cut", someLines(100));
  const page = await open("cut");
  await untilVisible(page, 100);
  await server.away();
  await untilText(page, "#link", "offline (retry in");
  server.tasks.get("cut").append(someLines(20, 101));
  await server.back();
  await untilVisible(page, 120);
  await until(page, () => document.documentElement.dataset.connection === "live");
  const numbers = await visibleNumbers(page);
  assert.equal(new Set(numbers).size, numbers.length);
  assert.equal(numbers[numbers.length - 1], 120);
  await untilText(page, "#counts", "120 lines");
});

test("lines that are sent twice are shown once", async () => {
  await server.append("twice", someLines(10));
  const page = await open("twice");
  await untilVisible(page, 10);
  const task = server.tasks.get("twice");
  for (const socket of server.sockets) {
    socket.send(JSON.stringify({ type: "lines", lines: task.lines.slice(5), cursor: task.cursor(10) }));
  }
  await server.append("twice", someLines(1, 11));
  await untilVisible(page, 11);
  assert.equal(await page.locator(".row").count(), 11);
});

test("a reset empties the page and starts over", async () => {
  await server.append("reset", someLines(50));
  const page = await open("reset");
  await untilVisible(page, 50);
  server.replaceLog("reset", [{ line: "another log" }]);
  await until(page, () => document.querySelectorAll(".row").length === 1);
  assert.equal(await rowText(page, 1).textContent(), "another log");
});

test("a reset while away is noticed too", async () => {
  await server.append("reset2", someLines(50));
  const page = await open("reset2");
  await untilVisible(page, 50);
  await server.away();
  server.replaceLog("reset2", someLines(60_000, 7));
  await server.back();
  await untilVisible(page, 60_000);
  assert.equal(await rowText(page, 60_000).textContent(), "line 60006 of the log");
  await page.keyboard.press("g");
  await until(page, () => document.querySelector('.row[data-n="1"] .text')?.textContent === "line 7 of the log");
});

test("skipped and lost lines are a labelled ruler", async () => {
  await server.append("gaps", [...someLines(5), { line: "[15 messages skipped]", stream: "internal" }, ...someLines(5, 7), { line: "[1 messages lost in transit]", stream: "internal" }, { line: "[3 messages skipped]" }]);
  const page = await open("gaps");
  await untilVisible(page, 13);
  assert.match(await row(page, 6).getAttribute("class"), /\bgap\b/);
  assert.equal(await row(page, 6).textContent(), "15 lines skipped by the worker (output too fast)");
  assert.equal(await row(page, 12).textContent(), "1 line lost in transit from the worker");
  assert.doesNotMatch(await row(page, 13).getAttribute("class"), /\bgap\b/, "a command cannot draw a gap");
});

test("trimmed lines at the beginning are one ruler", async () => {
  await server.append("trimmed", someLines(2000));
  server.trim("trimmed", 501);
  const page = await open("trimmed");
  await untilVisible(page, 2000);
  await page.keyboard.press("g");
  await untilVisible(page, 501);
  assert.equal(await row(page, 500).textContent(), "lines 1 to 500 trimmed, no longer available");
});

test("partial lines are marked at the cut", async () => {
  await server.append("partial", [{ line: "head", partial: true }, { line: "tail" }, { line: "bytes \ufffd", lossy: true }]);
  const page = await open("partial");
  await untilVisible(page, 3);
  assert.equal(await row(page, 1).locator(".cut").count(), 1);
  assert.match(await row(page, 2).getAttribute("class"), /\bgoes-on\b/);
  assert.equal(await row(page, 3).locator(".lossy").count(), 1);
});

test("an unknown task is reported, and shown once it exists", async () => {
  const page = await open("nobody");
  await untilText(page, "#notice", "No such task");
  assert.match(await page.title(), /not found/);
  await server.append("nobody", someLines(3));
  await untilVisible(page, 3);
  assert.equal(await page.locator("#notice").isHidden(), true);
});

test("a task that is waited for", async () => {
  const page = await open("soon?wait=1");
  await untilText(page, "#notice", "Waiting for the task to start");
  await server.start_task("soon");
  await untilText(page, "#notice", "Waiting for the first line");
});

test("missing access is reported", async () => {
  await server.append("secret", someLines(3));
  server.refuse = 403;
  server.ws.options.verifyClient = () => false;
  const page = await open("secret");
  await untilText(page, "#notice", "No access");
  server.ws.options.verifyClient = null;
});

test("several million lines still scroll from one end to the other", async () => {
  const task = server.make("millions");
  // Made up on demand: the page must never ask for all of them.
  const made = (index) => ({ n: index + 1, id: `${index + 1}-0`, timestamp: "2026-05-09T14:23:01.000Z", stream: "stdout", line: `line ${index + 1} of the log` });
  task.lines = new Proxy([], {
    get: (target, key) => {
      if (key === "length") return 5_000_000;
      if (key === "slice") return (from, to) => Array.from({ length: Math.min(to, 5_000_000) - from }, (_, i) => made(from + i));
      return typeof key === "string" && /^\d+$/.test(key) ? made(Number(key)) : target[key];
    },
  });
  const asked = server.requests.length;
  const page = await open("millions");
  await untilVisible(page, 5_000_000);
  await page.evaluate(() => {
    const log = document.getElementById("log");
    log.scrollTop = log.scrollHeight / 2;
  });
  // Rows outside of the viewport may be there before those inside. Returns what was seen last if it is never wanted.
  const firstVisible = async (wanted) => {
    const end = Date.now() + TIMEOUT_MS;
    for (;;) {
      const [number] = await visibleNumbers(page);
      if ((number !== undefined && wanted(number)) || Date.now() > end) return number;
      await page.evaluate(() => new Promise(requestAnimationFrame));
    }
  };
  const first = await firstVisible((n) => Math.abs(n - 2_500_000) < 5000);
  await page.mouse.move(600, 400);
  await page.mouse.wheel(0, 190);
  const second = await firstVisible((n) => n === first + 10);
  assert.equal(second - first, 10, "the wheel goes by rows, not by the scale of the bar");
  await page.keyboard.press("g");
  await untilVisible(page, 1);
  await page.keyboard.press("G");
  await untilVisible(page, 5_000_000);
  assert.ok((await page.locator(".row").count()) < 400);
  const pages = server.requests.slice(asked).filter((url) => url.pathname.endsWith("/lines") && !url.searchParams.has("stream"));
  assert.ok(pages.length < 12, `${pages.length} pages of lines were asked for`);
});

const integrity = (state, more = {}) => ({
  state, lines: 12034, hash: "xxh3-128-sum:29f6b4a43e0fec848bec1ce32a0d3668", said_lines: 12034,
  said_hash: "xxh3-128-sum:29f6b4a43e0fec848bec1ce32a0d3668", missing_lines: 0, missing: [], ...more,
});

test("a complete log is marked, with its sum on hover", async () => {
  await server.append("whole", someLines(20));
  const page = await open("whole");
  await untilVisible(page, 20);
  assert.equal(await page.locator("#integrity").isHidden(), true, "nothing is said while it runs");
  Object.assign(server.tasks.get("whole").facts, { integrity: integrity("complete") });
  await server.end("whole", 0);
  await untilText(page, "#integrity", "complete: 12,034 lines");
  assert.match(await page.locator("#integrity").getAttribute("title"), /xxh3-128-sum:29f6/);
  assert.equal(await page.locator("#alarm").isHidden(), true);
});

test("missing lines are named, with the place and the reason", async () => {
  const missing = [
    { from: 300, to: 300, reason: "skipped", count: 1500 },
    { from: 900, to: 900, reason: "lost_in_transit", count: 3 },
    { from: 1000, to: 1999, reason: "quota", count: 1000 },
  ];
  await server.append("parts", someLines(20));
  Object.assign(server.tasks.get("parts").facts, { integrity: integrity("incomplete", { missing_lines: 2510, missing }) });
  await server.end("parts", 0);
  const page = await open("parts");
  await untilText(page, "#integrity", "incomplete: 2,510 lines missing");
  const words = await page.locator("#integrity").textContent();
  for (const part of ["1,500 lines skipped by the worker at line 300", "3 lines lost in transit at line 900",
    "lines 1,000 to 1,999 over quota", "7 lines elsewhere"]) {
    assert.ok(words.includes(part), `${part}: ${words}`);
  }
  assert.equal(await page.locator("#alarm").isHidden(), true);
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/incomplete.png` });
});

test("a log that differs from the worker's has a bar", async () => {
  await server.append("other", someLines(20));
  Object.assign(server.tasks.get("other").facts, { integrity: integrity("mismatch", { said_lines: 12040 }) });
  await server.end("other", 0);
  const page = await open("other");
  await untilText(page, "#alarm", "This log differs from what the worker sent: the worker sent 12,040 lines, 12,034 are stored.");
  assert.equal(await page.locator("#alarm").isVisible(), true);
  assert.equal(await page.locator("#integrity").textContent(), "differs from what the worker sent");
  await untilVisible(page, 20);
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/mismatch.png` });
});
