// The page of a task against the real server.

import assert from "node:assert/strict";
import { test } from "node:test";
import { longestFrame, row, rowText, someLines, until, untilStill, untilVisible, visibleNumbers } from "./harness.js";
import { browser, openTask as open, server, setUp, text, untilText } from "./setup.js";

setUp();

test("lines appear as they arrive, with their channel", async () => {
  await server.append("live", [{ line: "first" }]);
  const page = await open("live");
  await untilVisible(page, 1);
  await server.append("live", [{ line: "to stderr", stream: "stderr" }, { line: "tasktail: a word", stream: "internal" }]);
  await untilVisible(page, 3);
  assert.equal(await rowText(page, 2).textContent(), "to stderr");
  assert.match(await row(page, 2).getAttribute("class"), /\bstderr\b/);
  const bar = (n) => row(page, n).evaluate((element) => getComputedStyle(element).borderLeftColor);
  assert.notEqual(await bar(2), await bar(1), "stderr has a bar of its own");
  assert.match(await row(page, 3).getAttribute("class"), /\binternal\b/);
  await untilText(page, ".channel.stderr", "1");
  await untilText(page, "#counts", "2 lines");
});

test("scrolling up stops following, the pill counts, the end follows again", async () => {
  await server.append("follow", someLines(500));
  const page = await open("follow");
  await untilVisible(page, 500);
  assert.equal(await page.locator("#pill").isHidden(), true);
  await page.mouse.move(600, 400);
  await page.mouse.wheel(0, -400);
  await until(page, () => document.documentElement.dataset.following === "false");
  await until(page, () => !document.querySelector('.row[data-n="500"]') || document.querySelector('.row[data-n="500"]').getBoundingClientRect().top > innerHeight);
  await untilStill(page);
  const seen = await visibleNumbers(page);
  await server.append("follow", someLines(120, 501));
  await untilText(page, "#pill", "120 new lines");
  assert.deepEqual(await visibleNumbers(page), seen, "what is read does not move");
  await page.click("#pill");
  await untilVisible(page, 620);
  assert.equal(await page.locator("#pill").isHidden(), true);
  await page.keyboard.press("PageUp");
  await until(page, () => document.documentElement.dataset.following === "false");
  await page.mouse.wheel(0, 5000);
  await until(page, () => document.documentElement.dataset.following === "true");
  await server.append("follow", someLines(10, 621));
  await untilVisible(page, 630);
});

test("a page loaded in the middle has everything", async () => {
  await server.append("middle", someLines(3000));
  const page = await open("middle");
  await untilVisible(page, 3000);
  await server.append("middle", someLines(10, 3001));
  await page.reload();
  await untilVisible(page, 3010);
  await page.keyboard.press("g");
  await untilVisible(page, 1);
  await until(page, () => document.querySelector('.row[data-n="1"] .text')?.textContent === "line 1 of the log");
  await page.keyboard.press("G");
  await untilVisible(page, 3010);
});

test("a finished task shows how it ended", async () => {
  await server.append("good", someLines(3));
  await server.end("good", 0);
  await server.append("bad", someLines(3));
  const page = await open("good");
  await untilText(page, "#state", "✓ exit 0");
  await untilVisible(page, 3);
  assert.match(await page.title(), /^✓ good · exit 0/);
  await page.goto(`${server.url}/tasks/bad`);
  await untilText(page, "#state", "running");
  const icon = () => page.getAttribute('link[rel="icon"]', "href");
  const running = await icon();
  await server.end("bad", 2);
  await untilText(page, "#state", "✗ exit 2");
  assert.notEqual(await icon(), running);
  await until(page, () => document.documentElement.dataset.connection === "ended");
});

test("facts of the worker are in the header", async () => {
  await server.start_task("facts", { command: ["make", "-j8", "a b"], host: "h1", labels: { branch: "main" } });
  const page = await open("facts");
  await untilText(page, "#command", "make -j8 'a b'");
  assert.equal(await text(page, "#host"), "h1");
  assert.equal(await text(page, ".chip"), "branch: main");
  await untilText(page, "#notice", "Waiting for the first line");
  await server.append("facts", [{ line: "here" }]);
  await untilVisible(page, 1);
  assert.equal(await page.locator("#notice").isHidden(), true);
});

test("the unfinished line is a provisional row that the finished one replaces", async () => {
  await server.start_task("bar", { command: ["python3", "train.py"] });
  const page = await open("bar");
  await untilText(page, "#notice", "Waiting for the first line");
  const say = (line, stream = "stdout") =>
    server.say({ type: "partial", work_request_id: "bar", stream, line, timestamp: new Date().toISOString() });
  say(" 10 %|#    |\r 50 %|\x1b[32m###\x1b[0m  |");
  await untilText(page, ".provisional", " 50 %|###  |");
  assert.equal(await text(page, ".provisional"), " 50 %|###  |", "as a terminal shows it");
  assert.equal(await page.locator("#notice").isHidden(), true);
  assert.equal(await page.locator(".provisional .fg2").textContent(), "###");
  say(" 90 %|#### |");
  await untilText(page, ".provisional", " 90 %");
  assert.match(await text(page, "#counts"), /^0 lines/, "it is not counted");
  assert.equal(await page.locator(".row[data-n]").count(), 0, "it has no number");
  await page.fill("#query", "90");
  await untilText(page, "#hits", "no matches");
  await page.fill("#query", "");
  await page.keyboard.press("Escape");
  const copied = await page.evaluate(() => {
    getSelection().selectAllChildren(document.querySelector(".rows"));
    return getSelection().toString().trim();
  });
  assert.equal(copied, "", "it is not copied");
  await page.evaluate(() => getSelection().removeAllRanges());
  const timestamp = new Date().toISOString();
  server.say({ type: "log_lines", work_request_id: "bar", first_seq: 1, lines: [{ line: "100 %|#####|", stream: "stdout", timestamp }] });
  await untilVisible(page, 1);
  await until(page, () => document.querySelector(".provisional").hidden);
  assert.equal(await rowText(page, 1).textContent(), "100 %|#####|");
  await untilText(page, "#counts", "1 line ");
  say("Password: ", "stderr");
  await untilText(page, ".provisional .stderr", "Password: ");
  await page.click(".channel.stderr");
  await until(page, () => document.querySelector(".provisional").hidden);
  await page.click(".channel.stderr");
  await until(page, () => !document.querySelector(".provisional").hidden);
  say("", "stderr");
  await until(page, () => document.querySelector(".provisional").hidden);
});

test("the provisional row is below the last line only", async () => {
  await server.start_task("below");
  await server.append("below", someLines(500));
  const page = await open("below");
  await untilVisible(page, 500);
  server.say({ type: "partial", work_request_id: "below", stream: "stdout", line: "still going", timestamp: new Date().toISOString() });
  await untilText(page, ".provisional", "still going");
  // It is on the screen.
  await until(page, () => {
    const [row, log] = [document.querySelector(".provisional"), document.getElementById("log")].map((element) => element.getBoundingClientRect());
    return row.height > 0 && row.bottom <= log.bottom + 1;
  });
  await page.keyboard.press("g");
  await untilVisible(page, 1);
  await until(page, () => document.querySelector(".provisional").hidden);
  await page.keyboard.press("G");
  await until(page, () => !document.querySelector(".provisional").hidden);
});

test("missing lines are marked in the header while the task runs", async () => {
  await server.append("lossy", [...someLines(3), { line: "[15 messages skipped]", stream: "internal" }]);
  const page = await open("lossy");
  await untilText(page, "#integrity", "incomplete: 15 lines missing");
  await untilText(page, "#counts", "3 lines ");
});

test("markup in a line is text", async () => {
  const hostile = [
    "<script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 1">',
    "\x1b[31m<svg onload=window.hacked=1>\x1b[0m",
    "\x1b]8;;javascript:window.hacked=1\x07link\x1b]8;;\x07",
    "</span></div><style>body{display:none}</style>",
  ];
  await server.append("hostile", hostile.map((line) => ({ line })));
  const page = await open("hostile");
  await untilVisible(page, 5);
  assert.equal(await rowText(page, 1).textContent(), hostile[0]);
  assert.equal(await rowText(page, 2).textContent(), hostile[1]);
  assert.equal(await rowText(page, 4).textContent(), "link");
  assert.equal(await page.locator("#log img, #log script, #log svg, #log style, #log a:not(.num)").count(), 0);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
});

test("no inline script runs", async () => {
  await server.append("policy", [{ line: "x" }]);
  const page = await open("policy");
  await untilVisible(page, 1);
  const refused = await page.evaluate(() => new Promise((resolve) => {
    document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
    const script = document.createElement("script");
    script.textContent = "window.hacked = 1";
    document.body.append(script);
  }));
  assert.match(refused, /script-src/);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  await page.context().close();
  // This one was meant to break the policy.
  assert.equal(browser.violations.splice(0).length, 1);
});

test("200,000 lines: few rows, any place at once", async () => {
  await server.append("huge", someLines(200_000));
  const page = await open("huge");
  await untilVisible(page, 200_000);
  const bounded = async () => assert.ok((await page.locator(".row").count()) < 400);
  await bounded();
  await page.keyboard.press("g");
  await untilVisible(page, 1);
  await bounded();
  await page.evaluate(() => {
    const log = document.getElementById("log");
    log.scrollTop = (log.scrollHeight - log.clientHeight) / 2;
  });
  await until(page, () => [...document.querySelectorAll(".row:not(.hole)")].some((element) => element.dataset.n > 99_900 && element.dataset.n < 100_100));
  await untilStill(page);
  await bounded();
  const numbers = await visibleNumbers(page);
  assert.ok(numbers.every((n, i) => i === 0 || n === numbers[i - 1] + 1), "no number is missing");
  await page.keyboard.press("End");
  await untilVisible(page, 200_000);
  await bounded();
});

test("colours, rewritten lines and long lines", async () => {
  const long = "x".repeat(20_000);
  await server.append("ansi", [
    { line: "\x1b[1;31mred\x1b[0m plain \x1b[38;2;1;2;3mtrue\x1b[0m \x1b[7mreverse" },
    { line: "10%\r55%\r100% done" },
    { line: long },
    { line: Array.from({ length: 3000 }, (_, i) => `${i} done`).join("\r") },
  ]);
  const page = await open("ansi");
  await untilVisible(page, 4);
  assert.equal(await rowText(page, 1).textContent(), "red plain true reverse");
  assert.equal(await row(page, 1).locator("span.b.fg1").textContent(), "red");
  assert.equal(await row(page, 1).locator("span", { hasText: /^true$/ }).last().evaluate((e) => getComputedStyle(e).color), "rgb(1, 2, 3)");
  assert.equal(await rowText(page, 2).textContent(), "100% done");
  assert.equal(await rowText(page, 4).textContent(), "2999 done", "what rewrites itself is read to its end");
  assert.equal(await row(page, 3).locator(".more").textContent(), "… 16,000 more characters");
  await row(page, 3).locator(".more").evaluate((button) => button.click());
  assert.equal(await rowText(page, 3).textContent(), long);
});

test("a link marks its lines, and clicks make links", async () => {
  await server.append("links", someLines(2000));
  const page = await open("links#L120-L122");
  await untilVisible(page, 120);
  await until(page, () => document.querySelectorAll(".row.marked").length === 3);
  await row(page, 125).locator(".num").click();
  await until(page, () => location.hash === "#L125");
  await row(page, 128).locator(".num").click({ modifiers: ["Shift"] });
  await until(page, () => location.hash === "#L125-L128");
  await until(page, () => document.querySelectorAll(".row.marked").length === 4);
});

test("search covers the whole log", async () => {
  const lines = someLines(5000);
  lines[99].line = "a Needle (1) here";
  lines[2499].line = "a needle (2) here";
  lines[4999].line = "a needle (3) here";
  await server.append("search", lines);
  const page = await open("search");
  await untilVisible(page, 5000);
  await page.keyboard.press("/");
  await page.keyboard.type("needle (");
  await untilText(page, "#hits", "3 matches");
  await page.keyboard.press("Enter");
  await untilVisible(page, 100);
  await untilText(page, "#hits", "1 of 3");
  assert.ok(await page.evaluate(() => CSS.highlights.get("hit")?.size >= 1), "hits are painted");
  await page.locator("#log").focus();
  await page.keyboard.press("n");
  await untilVisible(page, 2500);
  await page.keyboard.press("N");
  await untilVisible(page, 100);
  await page.click("#regex");
  await untilText(page, "#hits", "invalid pattern");
  await page.fill("#query", "needle \\([23]\\)");
  await untilText(page, "#hits", "2 matches");
  await server.append("search", [{ line: "needle (2) again" }]);
  await untilText(page, "#hits", "3 matches");
});

test("e and E jump to errors", async () => {
  const lines = someLines(4000);
  lines[499] = { line: "fatal: on stderr", stream: "stderr" };
  lines[1999].line = "fatal: it broke";
  await server.append("errors", lines);
  const page = await open("errors");
  await untilVisible(page, 4000);
  await page.keyboard.press("E");
  await untilVisible(page, 2000);
  await page.keyboard.press("E");
  await untilVisible(page, 500);
  await page.keyboard.press("e");
  await untilVisible(page, 2000);
});

test("channels are switched, numbers stay", async () => {
  const lines = someLines(3000);
  for (const n of [10, 1500, 2990]) lines[n - 1].stream = "stderr";
  await server.append("channels", lines);
  const page = await open("channels");
  await untilVisible(page, 3000);
  await untilText(page, ".channel.stderr", "3");
  await page.click(".channel.stdout");
  await until(page, () => document.querySelectorAll(".row.stderr").length === 3 && document.querySelectorAll(".row").length === 3);
  assert.deepEqual(await visibleNumbers(page), [10, 1500, 2990]);
  await server.append("channels", [{ line: "out" }, { line: "err", stream: "stderr" }]);
  await untilVisible(page, 3002);
  assert.equal(await row(page, 3001).count(), 0);
  await page.click(".channel.stdout");
  await untilVisible(page, 3001);
});

test("long lines wrap by a switch, the end is still the end", async () => {
  const lines = Array.from({ length: 2000 }, (_, i) => ({ line: `${i + 1} ${"word ".repeat(i % 90)}` }));
  await server.append("wrap", lines);
  const page = await open("wrap");
  await untilVisible(page, 2000);
  const flat = await row(page, 1970).evaluate((element) => element.offsetHeight);
  await page.keyboard.press("w");
  await untilVisible(page, 2000);
  await until(page, () => document.documentElement.dataset.following === "true");
  await until(page, ([n, than]) => document.querySelector(`.row[data-n="${n}"]`)?.offsetHeight > than, [1970, flat]);
  await until(page, () => document.getElementById("log").scrollWidth <= document.getElementById("log").clientWidth);
  await untilStill(page);
  const before = await visibleNumbers(page);
  await page.keyboard.press("PageUp");
  await until(page, (n) => !document.querySelector(`.row[data-n="${n}"]`) || document.querySelector(`.row[data-n="${n}"]`).getBoundingClientRect().top > innerHeight - 60, before[before.length - 1]);
  await untilStill(page);
  const up = await visibleNumbers(page);
  assert.ok(up.length > 0 && up[up.length - 1] >= before[0] - 2, `nothing is jumped over: ${up} then ${before}`);
  await page.keyboard.press("g");
  await untilVisible(page, 1);
});

test("the time column has four ways", async () => {
  await server.append("times", [
    { line: "a", timestamp: "2026-05-09T14:23:01.000Z" },
    { line: "b", timestamp: "2026-05-09T14:23:01.250Z" },
  ]);
  const page = await open("times", { timezoneId: "UTC" });
  await untilVisible(page, 2);
  await page.keyboard.press("t");
  await until(page, () => document.querySelector('.row[data-n="2"] .time')?.textContent === "14:23:01.250");
  await page.keyboard.press("t");
  await untilText(page, "#time", "since start");
  await page.keyboard.press("t");
  await until(page, () => document.querySelector('.row[data-n="2"] .time')?.textContent === "+0.250");
  await page.keyboard.press("t");
  await until(page, () => document.querySelectorAll(".time").length === 0);
});

test("copying gives the lines without numbers", async () => {
  await server.append("copy", [{ line: "one\ttab" }, { line: "" }, { line: "  three", stream: "stderr" }]);
  const page = await open("copy");
  await untilVisible(page, 3);
  const copied = await page.evaluate(() => {
    document.getSelection().setBaseAndExtent(document.querySelector('.row[data-n="1"] .text').firstChild, 0, document.querySelector('.row[data-n="3"] .text').firstChild, 7);
    const event = new ClipboardEvent("copy", { clipboardData: new DataTransfer(), bubbles: true, cancelable: true });
    document.dispatchEvent(event);
    return event.clipboardData.getData("text/plain");
  });
  assert.equal(copied, "one\ttab\n\n  three");
});

test("a selection is not torn by new lines", async () => {
  await server.append("select", someLines(200));
  const page = await open("select");
  await untilVisible(page, 200);
  await page.evaluate(() => document.getSelection().selectAllChildren(document.querySelector('.row[data-n="195"] .text')));
  await until(page, () => document.documentElement.dataset.following === "false");
  await server.append("select", someLines(300, 201));
  await untilText(page, "#pill", "300 new lines");
  assert.equal(await page.evaluate(() => String(document.getSelection())), "line 195 of the log");
});

test("help, downloads and the keyboard", async () => {
  await server.append("keys", someLines(50));
  const page = await open("keys");
  await untilVisible(page, 50);
  await page.keyboard.press("?");
  await page.locator("dialog[open]").waitFor();
  await page.keyboard.press("Escape");
  await until(page, () => document.querySelector("dialog[open]") === null);
  await page.locator("#download summary").focus();
  await page.keyboard.press("Enter");
  assert.match(await page.getAttribute("#get-ndjson", "href"), /\/api\/v1\/tasks\/keys\/log\?format=ndjson$/);
  assert.equal(await page.locator("#get-times").isVisible(), true);
});

test("a fast task does not hold the page up", async () => {
  await server.append("fast", [{ line: "begin" }]);
  const page = await open("fast");
  await untilVisible(page, 1);
  const longest = await longestFrame(page, async () => {
    for (let i = 0; i < 20; i += 1) await server.append("fast", someLines(1000, i * 1000 + 2));
    await untilVisible(page, 20_001);
  });
  assert.ok((await page.locator(".row").count()) < 400);
  assert.ok(longest < 200, `the longest frame took ${longest} ms`);
});

test("after a killed server restarts, each line is there once", async () => {
  await server.append("killed", someLines(300));
  const page = await open("killed");
  await untilVisible(page, 300);
  await server.away();
  await untilText(page, "#link", "offline (retry in");
  assert.match(await page.title(), /running/, "the task's state is still what is known of it");
  await server.back();
  await server.append("killed", someLines(50, 301));
  await untilVisible(page, 350);
  const numbers = await visibleNumbers(page);
  assert.deepEqual(numbers, [...new Set(numbers)]);
  await page.keyboard.press("g");
  await untilVisible(page, 1);
  await untilText(page, "#counts", "350 lines");
});

test("an unknown task is reported until it exists", async () => {
  const page = await open("unknown");
  await untilText(page, "#notice", "No such task");
  await server.append("unknown", someLines(2));
  await untilVisible(page, 2);
});

test("a removed task is reported", async () => {
  await server.append("removed", someLines(5));
  const page = await open("removed");
  await untilVisible(page, 5);
  await server.remove("removed");
  await untilText(page, "#link", "deleted");
  await server.append("removed", [{ line: "a new log" }]);
  await until(page, () => document.querySelector('.row[data-n="1"] .text')?.textContent === "a new log");
  assert.equal(await page.locator(".row").count(), 1);
});
