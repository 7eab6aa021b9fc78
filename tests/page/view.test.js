// The view of a task's page: search while it loads, the address, copying beyond the screen.

import assert from "node:assert/strict";
import { test } from "node:test";
import { row, someLines, until, untilStill, untilVisible, visibleNumbers } from "./harness.js";
import { browser, openTask as open, server, setUp, text, untilText } from "./setup.js";

setUp();

test("Enter before the first answer jumps to the first match when it arrives", async () => {
  const lines = someLines(3000);
  lines[1499].line = "a rare word";
  await server.append("early", lines);
  const page = await open("early");
  await untilVisible(page, 3000);
  let answer;
  const asked = new Promise((resolve) => (answer = resolve));
  let held;
  await page.route("**/lines?*", (route) => {
    if (!route.request().url().includes("q=")) return route.continue();
    // The first answers of a long log have no hit.
    if (!held) return route.fulfill({ json: { lines: [], gaps: [], cursor: "", first_line: 1, next_line: (held = 2), last_line: 3000 } });
    held = route;
    return answer();
  });
  await page.keyboard.press("/");
  await page.keyboard.type("rare word");
  await page.keyboard.press("Enter");
  await asked;
  await untilText(page, "#hits", "…");
  assert.ok((await visibleNumbers(page)).includes(3000));
  await held.continue();
  await untilVisible(page, 1500);
  await untilText(page, "#hits", "1 of 1");
});

test("the view is in the address", async () => {
  const lines = someLines(600);
  for (const n of [10, 300]) lines[n - 1] = { line: `to stderr, line ${n}`, stream: "stderr" };
  await server.append("address", lines);
  const page = await open("address?wait=1");
  await untilVisible(page, 600);
  await page.click(".channel.stdout");
  await page.keyboard.press("t");
  await page.keyboard.press("/");
  await page.keyboard.type("LINE [1-9]+0");
  await page.click("#regex");
  await until(page, () => location.search.includes("regex=1"));
  await row(page, 300).locator(".num").click();
  await until(page, () => location.hash === "#L300");
  const address = new URL(await page.evaluate(() => location.href));
  assert.deepEqual(Object.fromEntries(address.searchParams), { wait: "1", q: "LINE [1-9]+0", regex: "1", stream: "stderr,internal", time: "clock" });
  await page.fill("#query", "line [13]+0+");
  await untilText(page, "#hits", "2 matches");
  const other = await browser.newPage();
  await other.goto(await page.evaluate(() => location.href));
  await untilVisible(other, 300);
  await untilText(other, "#hits", "2 matches");
  assert.equal(await other.inputValue("#query"), "line [13]+0+");
  await until(other, () => document.querySelectorAll(".row").length === 2 && document.querySelectorAll(".row.marked .time").length === 1);
  assert.equal(await text(other, "#time"), "time: clock");
  await other.fill("#query", "");
  await until(other, () => !location.search.includes("q="));
});

test("a link beyond the end is reported", async () => {
  await server.append("beyond", someLines(1138));
  const page = await open("beyond#L99999");
  await untilText(page, "#toast", "Line 99,999 is not there yet: this log has 1,138 lines so far.");
  await untilVisible(page, 1138);
  await server.end("beyond", 0);
  await until(page, () => document.documentElement.dataset.connection === "ended");
  await page.evaluate(() => (location.hash = "#L5000-L6000"));
  await untilText(page, "#toast", "Line 5,000 does not exist: this log has 1,138 lines.");
});

test("the last channel stays", async () => {
  await server.append("last-channel", [{ line: "a" }, { line: "b", stream: "stderr" }]);
  const page = await open("last-channel");
  await untilVisible(page, 2);
  await page.click(".channel.internal");
  await page.click(".channel.stderr");
  await page.click(".channel.stdout");
  await untilText(page, "#toast", "At least one channel is shown");
  assert.deepEqual(await page.locator(".channel").evaluateAll((all) => all.map((button) => button.getAttribute("aria-pressed"))), ["true", "false", "false"]);
});

test("the wheel scrolls over the pill", async () => {
  await server.append("pill", someLines(400));
  const page = await open("pill");
  await untilVisible(page, 400);
  await page.keyboard.press("g");
  await untilVisible(page, 1);
  await page.hover("#pill");
  await page.mouse.wheel(0, 380);
  await until(page, () => document.querySelector('.row[data-n="21"]')?.getBoundingClientRect().top <= document.getElementById("log").getBoundingClientRect().top + 1);
});

test("a key that is pressed while the wheel still moves the log ends that movement", async () => {
  await server.append("wheel", someLines(5000));
  const page = await open("wheel");
  await untilVisible(page, 5000);
  await page.mouse.move(600, 400);
  for (const [key, line] of [["G", 5000], ["g", 1], ["End", 5000]]) {
    await page.evaluate(() => {
      const log = document.getElementById("log");
      log.scrollTop = (log.scrollHeight - log.clientHeight) / 2;
    });
    await until(page, () => [...document.querySelectorAll(".row:not(.hole)")].some((one) => Math.abs(one.dataset.n - 2500) < 50));
    await untilStill(page);
    await page.mouse.wheel(0, 190);
    await page.keyboard.press(key);
    await untilStill(page);
    await untilVisible(page, line);
  }
});

test("Ctrl+A and Ctrl+C copy the whole log, or the marked lines", async () => {
  await server.append("copy-all", someLines(3000));
  const page = await open("copy-all", { permissions: ["clipboard-read", "clipboard-write"] });
  await untilVisible(page, 3000);
  const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
  await page.keyboard.press("Control+a");
  await untilText(page, "#toast", "The whole log is selected: 3,000 lines");
  await page.keyboard.press("Control+c");
  await untilText(page, "#toast", "Copied: 3,000 rows");
  assert.equal(await clipboard(), someLines(3000).map(({ line }) => `${line}\n`).join(""));
  await page.keyboard.press("Escape");
  await page.goto(`${server.url}/tasks/copy-all#L1200-L2600`);
  await untilVisible(page, 1200);
  await page.keyboard.press("Control+c");
  await untilText(page, "#toast", "Copied: 1,401 rows");
  assert.equal(await clipboard(), someLines(1401, 1200).map(({ line }) => `${line}\n`).join(""));
});

test("lines that arrive during a search match as they are displayed", async () => {
  await server.append("displayed", someLines(3));
  const page = await open("displayed");
  await untilVisible(page, 3);
  await page.fill("#query", "login FAILED");
  await untilText(page, "#hits", "no matches");
  await server.append("displayed", [{ line: "login \x1b[31mFAILED\x1b[0m\r" }, { line: "login FAILED\r\x1b[Klogin ok" }, { line: "\x1b[1mlogin\x1b[0m FAILED" }]);
  await untilText(page, "#hits", "2 matches");
});
