// What a row of the log stream of a run says, and which rows are one; without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { collapse, itemOf, matches, cursorNumber, parseEvent, shapeOf } from "../../src/server/web/run/events.js";
import { rowsOf, seconds } from "../../src/server/web/run/journal.js";
import { RunLog } from "../../src/server/web/run/log.js";
import { stageDetails } from "../../src/server/web/run/status.js";

const log = (message, more = {}) => ({ host: "h1", workload: "dfaas", repetition: 1, total_repetitions: 3, status: "running", type: "log", level: "INFO", message, ...more });
const items = (events) => events.map((event, index) => itemOf(index + 1, event));

test("both schemas become rows", () => {
  const boom = itemOf(1, log("boom", { level: "ERROR", error_type: "K6ExecutionError", timestamp: 1767435305.1 }));
  assert.equal(boom.who, "h1/dfaas 1/3");
  assert.equal(`${boom.word} ${boom.text} ${boom.error}`, "ERROR boom K6ExecutionError");
  assert.equal(boom.timestamp, "2026-01-03T10:15:05.100Z");
  const step = itemOf(2, { event_type: "step.failed", step_id: "bench", error_class: "hard_gate_failed", reason: "below 97%", new_state: "failed", timestamp_utc: "2026-02-16T23:05:12.943301+00:00" });
  assert.equal(`${step.mark} ${step.word} ${step.who}: ${step.text}`, "✗ failed bench: step.failed · below 97%");
  assert.equal(step.timestamp, "2026-02-16T23:05:12.943Z");
  assert.equal(itemOf(3, { ...log("x"), timestamp: 0 }).timestamp, "", "zero is an unknown time");
  assert.equal(parseEvent(4, "{"), null);
});

test("failures are those that the server counts", () => {
  const failed = (event) => itemOf(1, event).failure;
  assert.ok(failed({ event_type: "gate.failed" }) && failed({ event_type: "run.completed", new_state: "failed" }));
  assert.ok(!failed({ event_type: "step.succeeded", new_state: "succeeded" }));
  assert.ok(failed(log("x", { level: "error" })) && failed(log("x", { error_type: "E" })));
  assert.ok(failed({ ...log("x"), type: "status", status: "unreachable" }));
  assert.ok(!failed(log("x", { status: "failed" })), "a line of a log changes no state");
});

test("look-alikes are one row in place, failures never, other hosts and levels never", () => {
  const polls = Array.from({ length: 20 }, (_, i) => log(`running (0m${i}.0s), ${i}/10 VUs, id 3f2a9c${10 + i}ff`));
  const rows = collapse(items([log("begin"), ...polls, log("end")]));
  assert.deepEqual(rows.map((row) => [row.n, row.last, row.times]), [[1, undefined, undefined], [2, 21, 20], [22, undefined, undefined]]);
  assert.match(rows[1].text, /0m19/, "the newest is shown");
  assert.equal(collapse(items([log("try 1", { level: "ERROR" }), log("try 2", { level: "ERROR" })])).length, 2);
  assert.equal(collapse(items([log("x 1"), log("x 2", { host: "h2" }), log("x 3", { level: "WARNING" })])).length, 3);
  assert.equal(collapse(items([log("a 1"), log("b 1"), log("a 2")])).length, 3, "only what stands one behind the other");
  assert.notEqual(shapeOf(itemOf(1, log("1/3", { repetition: 1 }))), shapeOf(itemOf(1, log("1/3", { repetition: 2 }))));
});

test("live events join the row before them, and pages join at their edges", () => {
  const runLog = new RunLog("r", () => {});
  for (let n = 1; n <= 1000; n += 1) runLog.append(itemOf(n, log(`poll ${n}`)), n, true);
  assert.equal(runLog.rows.next(1).times, 1000);
  assert.equal(runLog.rows.last, 1000);
  const paged = new RunLog("r", () => {});
  paged.grow(30);
  const page = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => itemOf(from + i, log(`poll ${from + i}`)));
  paged.put(11, 20, page(11, 20));
  paged.put(21, 30, page(21, 30));
  paged.put(1, 10, page(1, 10));
  assert.deepEqual([paged.rows.next(1).n, paged.rows.next(1).last, paged.rows.next(1).times], [1, 30, 30]);
  assert.equal(paged.rows.next(2), null);
});

test("the log is bounded, and loaded lines are not requested again", async () => {
  const runLog = new RunLog("r", () => {});
  for (let n = 1; n <= 120_000; n += 1) runLog.append(itemOf(n, log(`${n % 7 === 0 ? "a" : "b"} ${n}`)), n, true);
  assert.ok(runLog.raw.lines <= 51_000, String(runLog.raw.lines));
  assert.equal(runLog.raw.next(1).hole, true);
  runLog.show({ words: ["a", "119994"] });
  for (let step = 0; step < 20; step += 1) {
    const hole = runLog.rows.prev(120_000);
    if (!hole?.hole || hole.to < 80_000) break;
    const { from, to, items: held } = runLog.loadedPart(hole, true);
    runLog.put(from, to, held);
  }
  assert.equal(runLog.rows.prev(120_000).n, 119_994);
});

test("a filter matches all words in any case", () => {
  const item = itemOf(1, log("Request Failed", { level: "WARNING" }));
  assert.ok(matches(item, ["warning", "failed"]) && matches(item, ["h1/dfaas"]) && matches(item, []));
  assert.ok(!matches(item, ["warning", "passed"]));
});

test("a cursor names the next number", () => {
  assert.equal(cursorNumber("c1.feed.3.78.1778336581000-0"), 0x78);
  assert.equal(cursorNumber("nonsense"), null);
});

test("a journal's rows are one for each workload on each host", () => {
  const rep = (host, repetition, status, more = {}) => ({ host, workload: "fio", repetition, total_repetitions: 3, status, ...more });
  const states = (...repetitions) => rowsOf(repetitions).map((row) => `${row.host} ${row.status} ${row.ended}/${row.total}`);
  assert.deepEqual(states(rep("a", 1, "done"), rep("b", 1, "running"), rep("a", 2, "running")), ["a running 1/3", "b running 0/3"]);
  assert.deepEqual(states(rep("a", 1, "done"), rep("a", 2, "failed"), rep("a", 3, "done")), ["a failed 3/3"]);
  assert.deepEqual(states(rep("a", 1, "done"), rep("a", 2, "skipped"), rep("a", 3, "done")), ["a partial 3/3"]);
  assert.deepEqual(states(rep("a", 1, "pending")), ["a pending 0/3"]);
  assert.deepEqual(states(rep("a", 1, "done")), ["a running 1/3"], "two more are to come");
  const [row] = rowsOf([rep("a", 2, "running", { action: "now" }), rep("a", 1, "done", { action: "then", duration_s: 12.34 })]);
  assert.equal(`${row.action} ${seconds(row.last)}`, "now 12.3s");
  assert.equal(seconds(152), "2m32s");
});

test("a stage shows its rejections and their reason", () => {
  const hop = { hop: "extraction", received: 88, parsed: 86, rejected: { not_json: 2 }, deduplicated: 0, stored: 0, delivered: 0, dropped: 0, last: null, last_error: null };
  assert.deepEqual([stageDetails(hop).state, stageDetails(hop).words.join(" · ")], ["bad", "88 · ✗ 2 not_json"]);
  assert.equal(stageDetails({ ...hop, received: 0, parsed: 0, rejected: {} }).state, "idle");
});
