// The list of tasks with 50,000 of them, its filters, its order and its address, against the mock server.

import assert from "node:assert/strict";
import { test } from "node:test";
import { longestFrame, someLines, until } from "./harness.js";
import { openPath, server, setUpMock, text, untilText } from "./setup.js";

setUpMock();

const TASKS = 50_000;
const rows = (page) => page.evaluate(() => [...document.querySelectorAll("#tasks tr[data-id]")].map((row) => row.dataset.id));
const untilRows = (page, wanted) =>
  until(page, (ids) => JSON.stringify([...document.querySelectorAll("#tasks tr[data-id]")].map((row) => row.dataset.id)) === JSON.stringify(ids), wanted)
    .catch(async (error) => assert.deepEqual(await rows(page), wanted, error.message));

test("last lines, relative times, states, order and the address", async () => {
  await server.start_task("old", { labels: { env: "prod" }, started: new Date(Date.now() - 7_200_000).toISOString() });
  await server.append("old", [...someLines(50), { line: " 10 %\r\x1b[32m100 %\x1b[0m done <b>" }, { line: "worker away", stream: "internal" }]);
  await server.start_task("failed", { errors: 1_003, warnings: 14 });
  await server.append("failed", someLines(3));
  await server.end("failed", 2);
  await server.append("good", someLines(9));
  await server.end("good", 0);
  const page = await openPath("/");
  await untilRows(page, ["good", "failed", "old"]);
  await untilText(page, 'tr[data-id="old"] .last-line', "100 % done <b>");
  assert.equal(await text(page, 'tr[data-id="old"] .started'), "2 h ago");
  assert.match(await page.getAttribute('tr[data-id="old"] .started', "title"), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);
  assert.equal(await text(page, 'tr[data-id="failed"] .errors'), "1,003 + 14");
  assert.equal(await page.getAttribute('tr[data-id="failed"] .errors', "title"), "1,003 errors, 14 warnings");
  assert.equal(await text(page, 'tr[data-id="old"] .errors'), "", "not counted while it runs");
  await page.click('[data-sort="errors"]');
  await untilRows(page, ["failed", "good", "old"]);
  await page.click('[data-sort="errors"]');
  await page.click('[data-sort="errors"]');
  await page.click('[data-kind="failed"]');
  await untilRows(page, ["failed"]);
  assert.equal(new URL(page.url()).search, "?state=failed");
  await page.click('[data-kind=""]');
  await page.click('[data-sort="lines"]');
  await untilRows(page, ["old", "good", "failed"]);
  await page.click('[data-sort="lines"]');
  await untilRows(page, ["failed", "good", "old"]);
  assert.equal(await page.getAttribute("th.col-lines", "aria-sort"), "ascending");
  await page.fill("#filter", "env=prod");
  await untilRows(page, ["old"]);
  assert.equal(new URL(page.url()).search, "?sort=lines&filter=env%3Dprod");
  const again = await openPath(page.url().slice(server.url.length));
  await untilRows(again, ["old"]);
  await again.fill("#filter", "failed");
  await untilRows(again, ["failed"]);
  await again.fill("#filter", "");
  await again.keyboard.press("Escape");
  await again.keyboard.press("j");
  await until(again, () => document.activeElement.textContent === "failed");
  await again.keyboard.press("j");
  await again.keyboard.press("Enter");
  await until(again, () => location.pathname === "/tasks/good");
});

test("a server that does not answer is reported in the list", async () => {
  const page = await openPath("/");
  await until(page, () => document.documentElement.dataset.connection === "live");
  await server.away();
  await untilText(page, "#announcement", "offline");
  await server.back();
  await untilText(page, "#announcement", "Connected again");
});

test("50,000 tasks: the first page at once, any place by scrolling, a filter over all, no long frame", async () => {
  for (let i = 0; i < TASKS; i += 1) server.make(`task-${i}`).facts.labels = { shard: String(i % 100) };
  const total = server.tasks.size;
  const all = `${Math.trunc(total / 1000)},${String(total % 1000).padStart(3, "0")}`;
  const page = await openPath("/");
  await untilText(page, "#counts", "100+ tasks");
  await until(page, () => document.querySelectorAll("#tasks tr[data-id]").length > 20);
  const longest = await longestFrame(page, async () => {
    await page.fill("#filter", "task-7 shard=77");
    await untilText(page, "#counts", ` of ${all} tasks`);
  });
  assert.ok(longest < 250, `${longest} ms in one frame`);
  const ids = await rows(page);
  assert.ok(ids.length === 12 && ids.every((id) => /^task-7\d*7$/.test(id)), ids.join(" "));
  await page.fill("#filter", "");
  await until(page, () => document.documentElement.scrollHeight > 1_000_000);
  const typed = await longestFrame(page, async () => {
    await page.fill("#filter", "task-4999");
    await untilText(page, "#counts", `11 of ${all}`);
  });
  assert.ok(typed < 250, `${typed} ms in one frame while filtering`);
  await page.fill("#filter", "");
  await untilText(page, "#counts", `running · ${all}`);
  await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight / 2));
  await until(page, () => /^task-2[45]\d{3}$/.test(document.querySelector("#tasks tr[data-id]")?.dataset.id));
  assert.ok((await rows(page)).length < 120, "only the rows around the screen are elements");
  const rowPx = await page.evaluate(() => {
    const [a, b] = [...document.querySelectorAll("#tasks tr[data-id]")];
    return b.getBoundingClientRect().top - a.getBoundingClientRect().top;
  });
  assert.ok(Math.abs((await page.evaluate(() => document.documentElement.scrollHeight)) - rowPx * total) < 400);
});
