// Lines that redraw each other, records of several rows, and addresses, on the page of a task.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { longestFrame, row, rowText, someLines, until, untilVisible } from "./harness.js";
import { browser, openTask as open, server, setUp } from "./setup.js";

setUp();

const E = "\x1b[";
const recording = (name) => readFileSync(new URL(`../../data/screens/${name}`, import.meta.url), "utf8").replace(/\n$/, "").split("\n");
/** The frames of `bars` bars, from `first` percent on, as docker draws them. */
const frames = (bars, count, first = 0) =>
  Array.from({ length: count }, (_, f) =>
    Array.from({ length: bars }, (__, i) => ({ line: `${i === 0 && f + first > 0 ? `${E}${bars}A` : ""}${E}2Klayer ${i}: ${f + first}%` }))).flat();
/** The text of the rows on the page, without folds. */
const rowsOf = (page) => page.evaluate(() => [...document.querySelectorAll(".row:not(.fold) > .text")].map((cell) => cell.textContent.trimEnd()));
/** Waits until these are the rows on the page; an empty last row is not compared. */
const untilRows = async (page, wanted) => {
  const are = (rows) => {
    const shown = [...document.querySelectorAll(".row:not(.fold) > .text")].map((cell) => cell.textContent.trimEnd());
    return JSON.stringify(shown).replace(/(?:,"")+]$/, "]") === JSON.stringify(rows);
  };
  await until(page, are, wanted).catch(async (error) => assert.deepEqual(await rowsOf(page), wanted, error.message));
};

test("frames become one block with the final state and a fold", async () => {
  await server.append("frames", [{ line: "pulling" }, ...frames(3, 48), { line: "all pulled" }]);
  const page = await open("frames");
  await untilRows(page, ["pulling", "layer 0: 47%", "layer 1: 47%", "layer 2: 47%", "all pulled"]);
  assert.equal(await page.locator(".fold .frames").textContent(), "▸ 47 earlier frames");
  assert.deepEqual(await page.locator(".row:not(.fold) > .num").evaluateAll((cells) => cells.map((cell) => Number(cell.dataset.n))), [1, 143, 144, 145, 146]);
  await page.click(".fold .frames");
  await until(page, () => document.querySelector('.row[data-n="2"] .text')?.textContent === "layer 0: 0%");
  assert.equal(await page.locator(".fold").count(), 0);
  await row(page, 2).locator(".frames").click();
  await untilRows(page, ["pulling", "layer 0: 47%", "layer 1: 47%", "layer 2: 47%", "all pulled"]);
});

test("frames that arrive redraw their rows", async () => {
  await server.append("live-frames", [{ line: "begin" }, ...frames(2, 2)]);
  const page = await open("live-frames");
  await untilRows(page, ["begin", "layer 0: 1%", "layer 1: 1%"]);
  await server.append("live-frames", frames(2, 3, 2));
  await untilRows(page, ["begin", "layer 0: 4%", "layer 1: 4%"]);
  await server.append("live-frames", [{ line: `${E}A${E}2Klayer 1: done` }, { line: "to stderr", stream: "stderr" }]);
  await untilRows(page, ["begin", "layer 0: 4%", "layer 1: done", "to stderr"]);
  assert.match(await page.locator(".row.stderr > .text").textContent(), /to stderr/);
});

test("a link to an earlier frame unfolds it, and a search does", async () => {
  await server.append("frame-links", [...someLines(300), ...frames(3, 60), ...someLines(300, 301)]);
  const page = await open("frame-links#L400");
  await untilVisible(page, 400);
  await until(page, () => document.querySelector('.row.marked[data-n="400"] .text')?.textContent === "layer 0: 33%");
  const other = await open("frame-links");
  await untilVisible(other, 780);
  await other.keyboard.press("/");
  await other.keyboard.type("layer 1: 59%");
  await other.keyboard.press("Enter");
  await untilVisible(other, 479);
  assert.equal(await rowText(other, 479).textContent(), "layer 1: 59%");
  assert.equal(await other.locator(".fold").count(), 1, "a final row needs no unfolding");
  await other.fill("#query", "layer 1: 12%");
  await other.keyboard.press("Enter");
  await untilVisible(other, 338);
});

test("a long log with redraws can be scrolled anywhere", async () => {
  const lines = [];
  while (lines.length < 30_000) lines.push(...someLines(200, lines.length + 1), ...frames(5, 40));
  lines.push(...frames(4, 1500), { line: "the end" });
  await server.append("long-frames", lines);
  const page = await open("long-frames");
  await untilVisible(page, lines.length);
  const end = ["layer 0: 1499%", "layer 1: 1499%", "layer 2: 1499%", "layer 3: 1499%", "the end"];
  await until(page, (wanted) => [...document.querySelectorAll(".row:not(.fold) > .text")].slice(-5).map((cell) => cell.textContent.trimEnd()).join() === wanted, end.join());
  for (let i = 0; i < 6; i += 1) await page.keyboard.press("PageUp");
  await until(page, () => document.querySelectorAll(".row.hole").length === 0);
  const middle = async (part) => {
    await page.evaluate((where) => {
      const log = document.getElementById("log");
      log.scrollTop = (log.scrollHeight - log.clientHeight) * where;
    }, part);
    await until(page, () => document.querySelectorAll(".row").length > 10 && document.querySelectorAll(".row.hole").length === 0);
    const numbers = await page.locator(".row[data-n]").evaluateAll((rows) => rows.map((element) => Number(element.dataset.n)));
    assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b), "in order");
    assert.equal(new Set(numbers).size, numbers.length, "none twice");
  };
  for (const part of [0.1, 0.37, 0.5, 0.73]) await middle(part);
  await page.keyboard.press("g");
  await untilVisible(page, 1);
});

test("a very long redraw loads few lines", async () => {
  await server.append("endless-frames", [{ line: "begin" }, ...frames(4, 12_000), { line: "the end" }]);
  const page = await browser.newPage();
  let asked = 0;
  page.on("request", (request) => (asked += /\/lines\?(?!.*stream=)/.test(request.url()) ? 1 : 0));
  await page.goto(`${server.url}/tasks/endless-frames`);
  await until(page, () => {
    const rows = [...document.querySelectorAll(".row:not(.fold) > .text")].map((cell) => cell.textContent);
    return rows.at(-2) === "layer 3: 11999%" && document.querySelectorAll(".fold").length >= 5 && !document.querySelector(".hole");
  });
  const before = asked;
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  assert.equal(asked, before, "nothing more is loaded");
  assert.ok(asked < 40, `${asked} requests`);
  await page.keyboard.press("g");
  await untilVisible(page, 1);
  await until(page, () => !document.querySelector(".hole"));
  await page.keyboard.press("PageDown");
  await until(page, () => !document.querySelector(".hole") && Number([...document.querySelectorAll(".block")].at(-1)?.dataset.to) > 3000);
  assert.ok(asked < 120, `${asked} requests`);
});

test("recordings of programs are drawn as in a terminal", async () => {
  for (const name of ["rich", "listr2", "apt", "tqdm-nested-pipe"]) {
    await server.append(`screen-${name}`, recording(`${name}.txt`).map((line) => ({ line })));
    const page = await open(`screen-${name}`);
    await untilRows(page, recording(`${name}.screen`));
  }
});

test("fast redraws do not hold the page up", async () => {
  await server.append("fast-frames", [{ line: "begin" }, ...frames(8, 1)]);
  const page = await open("fast-frames");
  await untilRows(page, ["begin", ...Array.from({ length: 8 }, (_, i) => `layer ${i}: 0%`)]);
  const longest = await longestFrame(page, async () => {
    for (let i = 0; i < 20; i += 1) await server.append("fast-frames", frames(8, 60, 60 * i + 1));
    await until(page, () => document.querySelector(".row:last-child .text")?.textContent === "layer 7: 1200%");
  });
  assert.ok((await page.locator(".row").count()) < 100);
  assert.ok(longest < 200, `the longest frame took ${longest} ms`);
});

test("copying a block copies the displayed text", async () => {
  await server.append("copy-frames", [...frames(2, 9), { line: "end" }]);
  const page = await open("copy-frames");
  await untilRows(page, ["layer 0: 8%", "layer 1: 8%", "end"]);
  const copied = await page.evaluate(() => {
    document.getSelection().selectAllChildren(document.querySelector(".rows"));
    const event = new ClipboardEvent("copy", { clipboardData: new DataTransfer(), bubbles: true, cancelable: true });
    document.dispatchEvent(event);
    return event.clipboardData.getData("text/plain");
  });
  assert.equal(copied, "layer 0: 8%\nlayer 1: 8%\nend");
});

test("a record of several lines is several lines", async () => {
  await server.append("rows", [{ line: "Traceback:\n  File \"a.py\"\nValueError: bad", stream: "stderr" }, { line: "next" }, ...someLines(300, 5)]);
  const page = await open("rows");
  await page.keyboard.press("g");
  await untilVisible(page, 4);
  const texts = await Promise.all([1, 2, 3, 4].map((n) => rowText(page, n).textContent()));
  assert.deepEqual(texts, ["Traceback:", "  File \"a.py\"", "ValueError: bad", "next"]);
  await page.keyboard.press("G");
  await untilVisible(page, 304);
});

test("addresses are links that show their target and send no referrer", async () => {
  await server.append("addresses", [
    { line: "see https://ci.example/1." },
    { line: "\x1b]8;;https://docs.example/x\x1b\\the docs\x1b]8;;\x1b\\" },
    { line: "\x1b]8;;javascript:window.hacked=1\x07no\x1b]8;;\x07 javascript:window.hacked=1" },
  ]);
  const page = await open("addresses");
  await untilVisible(page, 3);
  const links = await page.locator("#log a.address").evaluateAll((made) => made.map(({ textContent, href, title, rel, target }) => ({ textContent, href, title, rel, target })));
  const common = { rel: "noopener noreferrer", target: "_blank" };
  assert.deepEqual(links, [
    { textContent: "https://ci.example/1", href: "https://ci.example/1", title: "https://ci.example/1", ...common },
    { textContent: "the docs", href: "https://docs.example/x", title: "https://docs.example/x", ...common },
  ]);
});

test("the number of a continued line does not shift its text", async () => {
  await server.append("continued", [{ line: "x".repeat(20), partial: true }, { line: "y" }, { line: "plain" }]);
  const page = await open("continued");
  await untilVisible(page, 3);
  const left = (n) => rowText(page, n).evaluate((cell) => cell.getBoundingClientRect().left);
  assert.equal(await left(2), await left(3));
});
