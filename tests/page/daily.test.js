// What a reader does with a task's page beside reading: replaying, printing, searching by habit, being notified.

import assert from "node:assert/strict";
import { test } from "node:test";
import { row, someLines, until, untilVisible } from "./harness.js";
import { browser, openPath, openTask as open, server, setUpMock, text, untilText } from "./setup.js";

setUpMock();

/** Lines, `ms` apart. */
const timed = (count, ms) => someLines(count).map((line, i) => ({ ...line, timestamp: new Date(Date.UTC(2026, 0, 1) + i * ms).toISOString() }));

test("a finished task is replayed, paused, moved and ended", async () => {
  await server.start_task("replayed", { started: new Date(Date.UTC(2026, 0, 1)).toISOString() });
  await server.append("replayed", timed(20_000, 100));
  const page = await open("replayed");
  await untilVisible(page, 20_000);
  assert.equal(await page.locator("#replay-open").isHidden(), true, "it still runs");
  await server.end("replayed", 0);
  await page.click("#replay-open");
  await until(page, () => {
    const at = Number(document.getElementById("replay-at").value);
    return at >= 3 && at < 19_000 && [...document.querySelectorAll(".row[data-n]")].at(-1)?.dataset.n <= at;
  });
  assert.equal(await row(page, 20_000).count(), 0, "later lines are not shown yet");
  await page.keyboard.press("Escape");
  await page.locator("#log").focus();
  await page.keyboard.press("r");
  await page.click('[data-speed="64"]');
  await until(page, () => Number(document.getElementById("replay-at").value) > 300);
  await page.click("#replay-play");
  await untilText(page, "#replay-play", "Play");
  const at = await page.inputValue("#replay-at");
  await page.locator("#replay-at").evaluate((input) => {
    input.value = "1000";
    input.dispatchEvent(new Event("change"));
  });
  await untilVisible(page, 1000);
  assert.equal(await row(page, 1001).count(), 0);
  assert.notEqual(at, "20000");
  await page.click("#replay-end");
  await untilVisible(page, 20_000);
  assert.equal(await page.locator("#replay").isHidden(), true);
});

test("a long pause is shortened, and the replay ends by itself at the last line", async () => {
  const lines = timed(6, 1);
  lines.forEach((line, i) => i >= 3 && (line.timestamp = new Date(Date.UTC(2026, 0, 2) + i).toISOString()));
  await server.append("pause", lines);
  await server.end("pause", 0);
  const page = await open("pause");
  await untilVisible(page, 6);
  // A day of waiting would be longer than any test.
  await page.click("#replay-open");
  await until(page, () => document.getElementById("replay-at").value === "6" && document.getElementById("replay-play").textContent === "Play");
});

test("Ctrl+P prints the whole log", async () => {
  await server.append("printed", someLines(3000));
  const page = await open("printed");
  await untilVisible(page, 3000);
  await page.evaluate(() => (globalThis.print = () => (globalThis.printed = document.querySelector(".print-log").textContent)));
  await page.keyboard.press("Control+p");
  await until(page, () => globalThis.printed !== undefined);
  assert.equal(await page.evaluate(() => globalThis.printed), someLines(3000).map(({ line }) => `${line}\n`).join(""));
  await page.emulateMedia({ media: "print" });
  assert.equal(await page.locator(".print-log").isVisible(), true);
  assert.equal(await page.locator(".tools").isVisible(), false);
  await page.evaluate(() => dispatchEvent(new Event("afterprint")));
  assert.equal(await page.locator(".print-log").count(), 0);
  await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
  assert.match(await text(page, ".print-log"), /lines that were on the screen[^]*\/api\/v1\/tasks\/printed\/log/);
});

test("Ctrl+F leads to the search of the whole log, once", async () => {
  await server.append("find", someLines(3000));
  const page = await open("find");
  await untilVisible(page, 3000);
  await page.evaluate(() => addEventListener("keydown", (event) => (globalThis.prevented = event.defaultPrevented)));
  await page.keyboard.press("Control+f");
  await until(page, () => document.activeElement.id === "query");
  await untilText(page, "#toast", "Press Ctrl+F again");
  assert.equal(await page.evaluate(() => globalThis.prevented), true);
  await page.keyboard.press("Control+f");
  assert.equal(await page.evaluate(() => globalThis.prevented), false, "the second is the browser's");
});

test("a notification is shown at the end, only after a click", async () => {
  await server.start_task("told", { command: ["make"] });
  await server.append("told", someLines(3));
  const page = await browser.newPage();
  await page.addInitScript(() => {
    globalThis.shown = [];
    globalThis.Notification = class extends EventTarget {
      static requestPermission = async () => "granted";

      constructor(title, options) {
        super();
        globalThis.shown.push([title, options.body]);
      }
    };
  });
  await page.goto(`${server.url}/tasks/told`);
  await untilVisible(page, 3);
  await page.click("#notify");
  await untilText(page, "#notify", "✓");
  await server.end("told", 2);
  await until(page, () => globalThis.shown.length === 1);
  const [[title, body]] = await page.evaluate(() => globalThis.shown);
  assert.equal(title, "✗ exit 2: told");
  assert.match(body, /^after .*\nmake$/);
  assert.equal(await page.locator("#notify").isHidden(), true);
});

test("changes of state are announced, counts and times are not", async () => {
  await server.append("heard", someLines(3));
  const page = await open("heard");
  await untilText(page, "#announcement", "Task running");
  await page.evaluate(() => {
    globalThis.heard = [];
    new MutationObserver(() => globalThis.heard.push(document.getElementById("announcement").textContent)).observe(document.getElementById("announcement"), { childList: true });
  });
  await server.append("heard", someLines(300, 4));
  await untilVisible(page, 303);
  await server.away();
  await untilText(page, "#announcement", "Offline");
  await server.back();
  await until(page, () => document.documentElement.dataset.connection === "live");
  await server.end("heard", 0);
  await untilText(page, "#announcement", "Task exit 0 after");
  const heard = await page.evaluate(() => globalThis.heard);
  assert.ok(heard.length <= 4 && heard.every((words) => /^(Offline|Task running|Task exit 0 after)/.test(words)), JSON.stringify(heard));
  assert.equal(await page.locator('[role="status"]:not(#announcement):not(#toast)').count(), 0);
});

test("a long command, labels and the host share the header, and the command opens", async () => {
  await server.start_task("long", { command: ["cargo", ...Array.from({ length: 60 }, (_, i) => `--option-${i}=value`)], host: "builder-7", labels: { branch: "main", pr: "1234", commit: "a1b2c3d" } });
  for (const viewport of [{ width: 1280, height: 800 }, { width: 390, height: 780 }]) {
    const page = await open("long", { viewport });
    await untilText(page, "#command", "--option-59=value");
    const widths = await page.locator("#labels .chip").evaluateAll((chips) => chips.map((chip) => chip.getBoundingClientRect().width));
    assert.ok(widths.length === 3 && widths.every((width) => width > 30), `${widths} at ${viewport.width}`);
    assert.ok(await page.evaluate(() => document.querySelector("header").getBoundingClientRect().height < innerHeight / 3.5));
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, "nothing is cut off");
    const before = await page.locator("#command").evaluate((element) => element.offsetHeight);
    await page.click("#command");
    assert.ok((await page.locator("#command").evaluate((element) => element.offsetHeight)) > before);
  }
});

test("without JavaScript the page has links to the log as text", async () => {
  await server.append("plain", someLines(3));
  const page = await openPath("/tasks/plain", { javaScriptEnabled: false });
  assert.match(await text(page, "noscript"), /requires JavaScript/);
});

test("the search across tasks streams, groups, continues and is in the address", async () => {
  await server.append("one", someLines(150));
  await server.append("two", [{ line: "\x1b[31mneedle\x1b[0m <b>here</b>" }, ...someLines(300)]);
  const page = await openPath("/search");
  await page.fill("#query", "needle");
  await page.keyboard.press("Enter");
  await untilText(page, "#find-state", "1 line in 1 task.");
  assert.equal(await text(page, ".found .what"), "needle <b>here</b>");
  assert.equal(await page.locator(".found li a").getAttribute("href"), "/tasks/two?q=needle#L1");
  await page.fill("#query", "of the log");
  await page.click('#find [type="submit"]');
  await untilText(page, "#find-state", "200 lines in 1 task, and there may be more.");
  await page.click("#more-hits");
  await until(page, () => document.querySelectorAll(".found").length > 1);
  const again = await openPath(page.url().slice(server.url.length));
  await untilText(again, "#find-state", "200 lines");
  assert.equal(await again.inputValue("#query"), "of the log");
  await again.click(".found li a");
  await until(again, () => location.pathname === "/tasks/two" && document.getElementById("query")?.value === "of the log");
});
