// The states of every page, examined by axe-core.

import assert from "node:assert/strict";
import { test } from "node:test";
import { contrast } from "../../src/server/web/shared/contrast.js";
import { examine, examineAll, LOOKS } from "./axe.js";
import { row, someLines, until, untilVisible } from "./harness.js";
import { browser, server, setUpMock, untilText } from "./setup.js";

setUpMock();

const E = "\x1b[";
const colours = [
  ...Array.from({ length: 16 }, (_, i) => ({ line: `${E}38;5;${i}mcolour ${i}${E}0m ${E}48;5;${i}mon ${i}${E}0m ${E}7;38;5;${i}mreverse${E}0m ${E}2mdim${E}0m` })),
  { line: `${E}38;5;208morange${E}0m ${E}38;2;255;255;0myellow${E}0m ${E}38;2;0;0;90mnavy${E}0m ${E}48;2;0;200;0mon green${E}0m`, stream: "stderr" },
  { line: `${E}1;37;41mwhite on red${E}0m ${E}30;103mblack on yellow${E}0m see https://ci.example/1`, stream: "stderr" },
  { line: "worker reconnected", stream: "internal" },
  { line: "[13 messages skipped]", stream: "internal" },
];

const outlineOf = (log) => {
  const section = { started: "2026-01-01T10:00:00Z", ended: "2026-01-01T10:01:00Z", open: false, level: 1, errors: 0 };
  log.outline = {
    sections: [{ ...section, title: "Build", from: 2, to: 40 }, { ...section, title: "Test", from: 41, to: 90, errors: 1 }],
    annotations: [
      { n: 60, level: "error", source: "cargo", message: "assertion failed", file: "src/a.rs", file_line: 7 },
      { n: 62, level: "warning", source: "cargo", message: "unused variable" },
    ],
    errors: 1, warnings: 1, scanned_to: 120, truncated: false,
  };
};

const ofTask = (id, state, words) => examineAll(`/tasks/${id}`, (page) => untilText(page, state, words), `task ${id}`);

test("a task that runs, one that ended, and one with colours of all kinds", async () => {
  await server.start_task("runs", { command: ["make", "-j8"], host: "h1", labels: { branch: "main", run: "r1" } });
  await server.append("runs", someLines(200));
  await ofTask("runs", "#state", "running");
  await server.append("colours", colours);
  await server.end("colours", 1);
  await ofTask("colours", "#state", "exit 1");
  await server.append("ok", someLines(3));
  await server.end("ok", 0);
  await ofTask("ok", "#state", "exit 0");
});

test("a task with sections, problems, hits, marked lines and a time column", async () => {
  await server.append("outline", someLines(120));
  outlineOf(server.tasks.get("outline"));
  await server.end("outline", 1);
  await examineAll("/tasks/outline?q=line&time=clock#L2-L5", async (page) => {
    await page.locator("#problems").waitFor();
    await page.click("#problems summary");
    await page.keyboard.press("Escape");
    await page.click("#problems summary");
    await until(page, () => document.querySelectorAll(".section-fold").length > 0);
  });
  await examineAll("/tasks/outline", async (page) => {
    await page.click("#replay-open");
    await page.click("#replay-play");
    await untilText(page, "#replay-play", "Play");
  }, "replay");
});

test("line numbers, which axe does not see, are readable on every kind of row", async () => {
  await server.append("numbers", [{ line: "out" }, { line: "err", stream: "stderr" }, { line: "own", stream: "internal" }, { line: "marked" }, { line: "hovered" }]);
  for (const look of LOOKS) {
    const page = await browser.newPage(look);
    await page.goto(`${server.url}/tasks/numbers#L4`);
    await untilVisible(page, 5);
    await row(page, 5).hover();
    const colours = await page.locator(".row .num").evaluateAll((cells) => cells.map((cell) => {
      const style = getComputedStyle(cell);
      return [style.color, style.backgroundColor];
    }));
    for (const pair of colours) {
      const [colour, background] = pair.map((rgb) => `#${rgb.match(/\d+/g).slice(0, 3).map((part) => Number(part).toString(16).padStart(2, "0")).join("")}`);
      assert.ok(contrast(colour, background) >= 4.5, `${colour} on ${background}`);
    }
  }
});

test("dialogs and menus", async () => {
  await server.append("dialogs", someLines(3));
  await examineAll("/tasks/dialogs", async (page) => {
    await untilVisible(page, 3);
    await page.keyboard.press("?");
  }, "help");
  await examineAll("/tasks/dialogs", async (page) => {
    await untilVisible(page, 3);
    await page.click("#download summary");
  }, "download");
});

test("a task that is not there, that waits, that has no output, and refused access", async () => {
  await ofTask("nosuch", "#notice", "No such task");
  await ofTask("later?wait=1", "#notice", "Waiting for the task to start");
  await server.start_task("silent", {});
  await ofTask("silent", "#notice", "Waiting for the first line");
  await server.end("silent", 0);
  await ofTask("silent", "#notice", "No output");
  server.refuse = 401;
  await examineAll("/", (page) => untilText(page, "#lost", "You are signed out"), "list, signed out");
  server.refuse = 403;
  await examineAll("/", (page) => untilText(page, "#none", "Your token cannot list tasks"), "list, no access");
});

test("an unreachable server", async () => {
  await server.append("gone", someLines(10));
  const opened = await Promise.all(LOOKS.map(async (look) => {
    const page = await browser.newPage({ reducedMotion: "reduce", ...look });
    await page.goto(`${server.url}/tasks/gone`);
    await untilVisible(page, 10);
    const list = await browser.another(page.context());
    await list.goto(`${server.url}/`);
    await list.locator('#tasks tr[data-id="gone"]').waitFor();
    return { page, list };
  }));
  await server.away();
  try {
    await Promise.all(opened.map(async ({ page, list }) => {
      await untilText(page, "#link", "offline");
      await examine(page, "task, offline");
      await untilText(list, "#link", "offline");
      await examine(list, "list, offline");
    }));
  } finally {
    await server.back();
  }
});

test("the lists, full, filtered and empty", async () => {
  await server.start_task("listed", { command: ["make", "-j8"], host: "h1", labels: { branch: "main" } });
  await server.append("listed", someLines(3));
  await examineAll("/", (page) => page.locator("#tasks tr[data-id]").first().waitFor());
  await examineAll("/?state=failed&sort=-lines", (page) => page.locator("#tasks tr[data-id]").first().waitFor());
  await examineAll("/?filter=nothing-like-it", (page) => untilText(page, "#none", "No tasks match"));
  await examineAll("/runs", (page) => page.locator("#empty").waitFor());
});

test("the search across tasks", async () => {
  await server.append("found", someLines(20));
  await examineAll("/search", (page) => page.locator("#query").waitFor());
  await examineAll("/search?q=line%201", (page) => untilText(page, "#find-state", "lines in"));
});

test("a run, and the list of runs", async () => {
  const event = (status, more) => ({ host: "h1", workload: "fio", repetition: 1, total_repetitions: 3, status, ...more });
  server.runs.append("r1", [event("running"), event("running", { type: "log", level: "INFO", message: "alpha" }), event("failed", { message: "disk full" })]);
  Object.assign(server.runs.make("r1").state, { warnings: ["the clock of h1 is wrong"] });
  await examineAll("/runs/r1", (page) => untilVisible(page, 3));
  await examineAll("/runs", (page) => page.locator("#runs tr[data-id]").first().waitFor());
  await examineAll("/runs/nosuch", (page) => untilText(page, "#notice", "No such run"));
});
