// Sections, problems and marks on the page of a task, from an outline that the mock server answers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { row, someLines, until, untilVisible, visibleNumbers } from "./harness.js";
import { openTask as open, server, setUpMock, text, untilText } from "./setup.js";

setUpMock();

const at = (seconds) => new Date(Date.UTC(2026, 0, 1, 10, 0, seconds)).toISOString();
const section = (title, from, to, more = {}) => ({ title, from, to, started: at(from), ended: to === null ? null : at(to), open: to === null, level: 1, errors: 0, ...more });
const error = (n, message, more = {}) => ({ n, level: "error", source: "cargo", message, ...more });

/** A log of `count` lines with these sections and annotations. */
async function make(id, count, sections, annotations = []) {
  await server.append(id, someLines(count));
  const of = (level) => annotations.filter((one) => one.level === level).length;
  server.tasks.get(id).outline = { sections, annotations, errors: of("error"), warnings: of("warning"), scanned_to: count, truncated: false };
}

const titles = (page) => page.evaluate(() => [...document.querySelectorAll(".row.section")].map((one) => `${one.classList.contains("folded") ? "▸" : "▾"} ${one.querySelector(".text").textContent}`));
const untilTitles = (page, wanted) =>
  until(page, (list) => JSON.stringify([...document.querySelectorAll(".row.section")].map((one) => `${one.classList.contains("folded") ? "▸" : "▾"} ${one.querySelector(".text").textContent}`)) === JSON.stringify(list), wanted)
    .catch(async (failed) => assert.deepEqual(await titles(page), wanted, failed.message));

test("sections that ended well are folded, those with an error and open ones are not", async () => {
  await make("fold", 300, [section("Install", 2, 100), section("Build", 101, 200), section("<b>Test</b>", 201, 290, { errors: 1 })], [error(250, "assertion failed")]);
  await server.end("fold", 1);
  const page = await open("fold");
  await untilText(page, "#problem-counts", "1 error");
  await page.keyboard.press("g");
  await untilTitles(page, ["▸ Install", "▸ Build", "▾ <b>Test</b>"]);
  assert.deepEqual((await visibleNumbers(page)).slice(0, 5), [1, 2, 101, 201, 202]);
  assert.match(await row(page, 2).locator(".section-facts").textContent(), /^1:38 · 98 lines$/);
  assert.match(await row(page, 201).locator(".section-facts").textContent(), /1 error/);
  await row(page, 2).locator(".section-fold").click();
  await untilVisible(page, 3);
  await row(page, 2).locator(".section-fold").click();
  await until(page, () => !document.querySelector('.row[data-n="3"]'));
  await page.keyboard.press("O");
  await untilVisible(page, 5);
  await page.keyboard.press("O");
  await untilTitles(page, ["▸ Install", "▸ Build", "▸ <b>Test</b>"]);
});

test("a link, a search hit and a problem unfold the section they are in", async () => {
  await make("unfold", 400, [section("One", 2, 100), section("Two", 101, 200), section("Three", 201, 380)]);
  await server.end("unfold", 0);
  const page = await open("unfold#L150");
  await untilVisible(page, 150);
  await page.keyboard.press("/");
  await page.keyboard.type("line 50 of");
  await page.keyboard.press("Enter");
  await untilVisible(page, 50);
  assert.match(await row(page, 50).getAttribute("class"), /\bcurrent\b/);
  await page.evaluate(() => (location.hash = "#L300"));
  await untilVisible(page, 300);
});

test("a section is open while it runs, and is not folded under the reader when it ends", async () => {
  await make("running", 300, [section("Build", 2, null)]);
  const page = await open("running");
  await untilVisible(page, 300);
  await page.keyboard.press("g");
  await untilTitles(page, ["▾ Build"]);
  assert.match(await row(page, 2).locator(".section-facts").textContent(), /running/);
  const task = server.tasks.get("running");
  task.outline = { ...task.outline, sections: [section("Build", 2, 299), section("Test", 300, null)], scanned_to: 310 };
  await server.append("running", someLines(10, 301));
  await until(page, () => document.querySelector('.row[data-n="2"] .section-facts')?.textContent.includes("running") === false);
  await untilVisible(page, 3);
  await row(page, 2).locator(".section-fold").click();
  await untilTitles(page, ["▸ Build", "▾ Test"]);
});

test("a selection stays when an outline changes other rows", async () => {
  await make("reading", 300, []);
  const page = await open("reading");
  await untilVisible(page, 300);
  await page.evaluate(() => getSelection().selectAllChildren(document.querySelector('.row[data-n="290"] .text')));
  await until(page, () => document.documentElement.dataset.following === "false");
  const task = server.tasks.get("reading");
  task.outline = { ...task.outline, sections: [section("Build", 280, null)], annotations: [error(295, "late")], errors: 1, scanned_to: 310 };
  await server.append("reading", someLines(10, 301));
  await until(page, () => document.querySelectorAll(".row.section, .row.annotated").length === 2);
  assert.equal(await page.evaluate(() => String(getSelection())), "line 290 of the log");
});

test("the cause of a failure is above the log, and one key away", async () => {
  const problems = [
    { n: 40, level: "warning", source: "cargo", message: "unused variable", file: "src/a.rs", file_line: 3, column: 9 },
    error(700, "\x1b[31mmismatched\x1b[0m <i>types</i>", { file: "src/b.rs", file_line: 7 }),
    error(900, "aborting"),
  ];
  await make("cause", 2000, [], problems);
  await server.end("cause", 101);
  const page = await open("cause");
  await untilText(page, "#first-problem", "mismatched <i>types</i>");
  assert.equal(await text(page, "#problem-counts"), "✗ 2 errors · ⚠ 1 warning");
  await page.keyboard.press("e");
  await untilVisible(page, 700);
  await page.keyboard.press("e");
  await untilVisible(page, 900);
  await page.keyboard.press("E");
  await untilVisible(page, 700);
  await page.keyboard.press("p");
  await until(page, () => document.getElementById("problems").open && document.activeElement.hash === "#L700");
  assert.equal(await text(page, "#problem-list li:nth-child(3) .where"), "src/a.rs:3:9 · line 40");
  await page.keyboard.press("j");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await untilVisible(page, 40);
  await page.keyboard.press("Escape");
  await until(page, () => !document.getElementById("problems").open && document.activeElement.id === "log");
});

test("hits and errors are marked beside the scroll bar, whatever their number", async () => {
  await make("marks", 5000, [], [error(4500, "late")]);
  await server.end("marks", 1);
  const page = await open("marks");
  await until(page, () => document.getElementById("marks").dataset.marks === "1");
  const marked = (from, to) => page.evaluate(([a, b]) => {
    const canvas = document.getElementById("marks");
    const [top, bottom] = [Math.round(a * canvas.height), Math.round(b * canvas.height)];
    return canvas.getContext("2d").getImageData(0, top, canvas.width, bottom - top).data.some((part) => part > 0);
  }, [from, to]);
  assert.equal(await marked(0.88, 0.92), true);
  assert.equal(await marked(0, 0.85), false);
  await page.fill("#query", "line 1234 of");
  await until(page, () => document.getElementById("marks").dataset.marks === "2");
  assert.equal(await marked(0.23, 0.26), true);
  await page.fill("#query", "line");
  await until(page, () => document.getElementById("marks").dataset.marks === "5001");
  assert.equal(await page.locator("#marks, .marks *").count(), 1);
});

test("a server without outlines gives a page without them", async () => {
  await server.append("plain", someLines(30));
  server.tasks.get("plain").outline = undefined;
  const page = await open("plain");
  await untilVisible(page, 30);
  const asked = () => server.requests.filter(({ pathname }) => pathname.endsWith("/plain/outline")).length;
  await until(page, () => document.documentElement.dataset.connection === "live");
  await server.append("plain", someLines(5, 31));
  await untilVisible(page, 35);
  assert.equal(await page.locator("#problems").isHidden(), true);
  // One for each message: the opening, the state, the lines, the new lines.
  assert.ok(asked() <= 4, `${asked()} requests`);
});
