// The page of all tasks, against the real server.

import assert from "node:assert/strict";
import { test } from "node:test";
import { someLines, until } from "./harness.js";
import { browser, server, setUp } from "./setup.js";

setUp();

const untilRows = (page, ids) =>
  until(page, (wanted) => JSON.stringify([...document.querySelectorAll("#tasks tbody tr")].map((row) => row.dataset.id)) === JSON.stringify(wanted), ids);

test("no tasks, then tasks, newest first, live, filtered", async () => {
  const page = await browser.newPage();
  await page.goto(server.url);
  await page.locator("#empty").waitFor();
  assert.match(await page.textContent("#empty"), /creates a task: the log of one command[^]*tasktail run -- make/);
  await page.click('#empty a[href$="/runs"]');
  await page.locator("#runs").waitFor({ state: "attached" });
  await page.locator("#empty").waitFor();
  assert.match(await page.textContent("#empty"), /A run collects the events of one workflow/);
  await page.click('#empty a[href$="/"]');
  await page.locator("#tasks").waitFor({ state: "attached" });
  await server.start_task("first", { command: ["make", "all"], host: "h1", labels: { branch: "main" } });
  await untilRows(page, ["first"]);
  assert.equal(await page.locator("#empty").isHidden(), true);
  await server.append("second", someLines(1234));
  await untilRows(page, ["second", "first"]);
  await until(page, () => document.querySelector('tr[data-id="second"] .lines')?.textContent === "1,234");
  await server.append("first", [...someLines(2), { line: "[13 messages skipped]", stream: "internal" }]);
  await until(page, () => document.querySelector('tr[data-id="first"] .lines')?.textContent === "⚠ 2 of 15");
  await server.end("second", 2);
  await until(page, () => document.querySelector('tr[data-id="second"] .badge')?.textContent === "✗ exit 2");
  assert.equal(await page.textContent('tr[data-id="first"] .command'), "make all");
  assert.equal(await page.textContent('tr[data-id="first"] .chip'), "branch: main");
  await page.keyboard.press("/");
  await page.keyboard.type("branch:main running");
  await untilRows(page, ["first"]);
  await page.fill("#filter", "nothing like it");
  await until(page, () => !document.getElementById("none").hidden);
  await page.fill("#filter", "");
  await page.click('tr[data-id="second"] a');
  await until(page, () => document.querySelectorAll(".row").length > 10);
  assert.equal(new URL(page.url()).pathname, "/tasks/second");
});

test("each cell is below its heading, at every width, also of a task without labels", async () => {
  await server.start_task("labelled", { command: ["make"], labels: { branch: "main" } });
  await server.append("plain", someLines(3));
  await server.end("plain", 0);
  const page = await browser.newPage();
  await page.goto(server.url);
  await page.locator('tr[data-id="plain"]').waitFor();
  for (const width of [1400, 1000, 700, 390]) {
    await page.setViewportSize({ width, height: 600 });
    const apart = await page.evaluate(() => {
      const edges = (row) => [...row.cells].filter((cell) => cell.offsetWidth > 0).map((cell) => Math.round(cell.getBoundingClientRect().left));
      const [head, ...rows] = document.querySelectorAll("#tasks tr:not(.space)");
      return rows.filter((row) => edges(row).join() !== edges(head).join()).map((row) => [row.dataset.id, edges(row), edges(head)]);
    });
    assert.deepEqual(apart, [], `at ${width} pixels`);
  }
  await page.close();
});
