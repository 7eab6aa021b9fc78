import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as format from "../../src/server/web/shared/format.js";
import { linkOf, parseLink, stretch } from "../../src/server/web/shared/links.js";
import { localPattern, pattern } from "../../src/server/web/shared/search.js";
import { textOf } from "../../src/server/web/shared/logcopy.js";
import { Store } from "../../src/server/web/shared/store.js";

const line = (n) => ({ n, line: `line ${n}`, stream: "stdout" });
const lines = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => line(from + i));

test("the store returns lines, holes and ends", () => {
  const store = new Store();
  store.grow(1000);
  assert.deepEqual(store.next(1), { hole: true, from: 1, to: 1000 });
  store.put(401, 600, lines(401, 600));
  assert.equal(store.next(450).n, 450);
  assert.deepEqual(store.next(601), { hole: true, from: 601, to: 1000 });
  assert.deepEqual(store.prev(400), { hole: true, from: 1, to: 400 });
  assert.equal(store.next(1001), null);
  assert.equal(store.prev(0), null);
});

test("the store keeps each line once and fills around it", () => {
  const store = new Store();
  store.grow(30);
  store.put(10, 20, lines(10, 20));
  store.put(1, 30, lines(1, 30));
  assert.equal(store.lines, 30);
  for (let n = 1; n <= 30; n += 1) assert.equal(store.next(n).n, n);
  store.append(30, line(30));
  store.append(31, line(31));
  assert.equal(store.lines, 31);
});

test("numbers of hidden channels are covered without an item", () => {
  const store = new Store();
  store.grow(100);
  store.put(1, 100, [line(7), line(90)]);
  assert.equal(store.next(8).n, 90);
  assert.equal(store.prev(89).n, 7);
  assert.equal(store.next(91), null);
  store.append(101, null);
  store.append(102, line(102));
  assert.equal(store.next(91).n, 102);
});

test("a gap is one item for all its numbers", () => {
  const store = new Store();
  store.grow(20);
  store.put(1, 20, [...lines(1, 4), { gap: true, n: 5, to: 9, from: 5, reason: "quota", count: 5 }, ...lines(10, 20)]);
  assert.equal(store.next(5).gap, true);
  assert.equal(store.next(7).gap, true);
  assert.equal(store.next(10).n, 10);
  assert.equal(store.prev(9).n, 5);
  assert.equal(store.prev(4).n, 4);
});

test("the store is bounded, by lines and by characters", () => {
  const store = new Store(5000, 1_000_000);
  for (let n = 1; n <= 100_000; n += 1) store.append(n, line(n));
  assert.ok(store.lines <= 5500, String(store.lines));
  assert.equal(store.next(100_000).n, 100_000);
  assert.equal(store.next(1).hole, true);
  for (let n = 100_001; n <= 101_000; n += 1) store.append(n, { n, line: "x".repeat(10_000), stream: "stdout" });
  assert.ok(store.chars <= 6_000_000, String(store.chars));
});

test("links to lines", () => {
  assert.deepEqual(parseLink("#L120"), { first: 120, last: 120 });
  assert.deepEqual(parseLink("#L140-L120"), { first: 120, last: 140 });
  for (const bad of ["", "#L0", "#120", "#L1-", "#L-3", "#Lx"]) assert.equal(parseLink(bad), null, bad);
  assert.equal(linkOf({ first: 3, last: 3 }), "#L3");
  assert.equal(linkOf(stretch(9, 3)), "#L3-L9");
});

test("numbers and times as text", () => {
  assert.equal(format.count(1234567), "1,234,567");
  assert.equal(format.counted(1, "line"), "1 line");
  assert.equal(format.bytes(999), "999 B");
  assert.equal(format.bytes(1_230_000), "1.2 MB");
  assert.equal(format.duration(761_000), "12:41");
  assert.equal(format.duration(3_723_000), "1:02:03");
  assert.equal(format.span(12_345), "0:12.345");
  assert.equal(format.delta(12), "+0.012");
  assert.equal(format.commandLine(["make", "CFLAGS=-O2 -g", "it's"]), "make 'CFLAGS=-O2 -g' 'it'\\''s'");
  assert.equal(format.verdict({ status: "completed", exit_code: 2 }).words, "exit 2");
  assert.equal(format.verdict({ status: "completed", signal: 9 }).words, "signal KILL");
});

test("a search is literal unless a pattern is requested", () => {
  assert.equal(pattern("a.b(", false), "(?i)a\\.b\\(");
  assert.equal(pattern("Err.*", true), "Err.*");
  assert.ok(localPattern("a.b", false).test("xA.By"));
  assert.equal(localPattern("(", true), null);
});

test("the integrity of a log as text", () => {
  const said = { hash: "xxh3-128-sum:0", said_lines: 1, said_hash: "xxh3-128-sum:0", missing_lines: 0, missing: [] };
  assert.equal(format.integritySummary(null), null);
  assert.equal(format.integritySummary({ ...said, state: "unknown", lines: 0 }), null);
  assert.equal(format.integritySummary({ ...said, state: "complete", lines: 1 }).words, "complete: 1 line");
  const task = { lines: 1256, own_lines: 3, trimmed_lines: 0, skipped_lines: 13_768, complete: false, integrity: null };
  assert.equal(format.lossSummary(task), "1,253 of 15,021");
  assert.equal(format.lossSummary({ ...task, complete: null }), null);
  assert.equal(format.integritySummary(null, task).words, "incomplete: 13,768 lines missing");
  const sum = format.integritySummary({ ...said, state: "mismatch", lines: 1, said_hash: "xxh3-128-sum:1" });
  assert.match(sum.alarm, /it has 1 line as sent, but the checksums differ/);
});

test("copied text equals the displayed text", () => {
  const made = (rows) => rows.map((row, i) => ({ n: i + 1, stream: "stdout", ...(typeof row === "string" ? { line: row } : row) }));
  assert.equal(textOf(made(["\x1b[31mred\x1b[0m", "10%\r20%", "a", "\x1b[A\x1b[2Kb"])), "red\n20%\nb\n");
  assert.equal(textOf(made([{ line: "one ", partial: true }, "line"])), "one line\n");
  assert.equal(textOf([{ n: 7, stream: "stderr", line: "x" }, { n: 9, stream: "stdout", line: "y" }]), "x\ny\n");
  assert.equal(textOf([]), "");
});

test("the task page preloads every module, so that none waits for another", () => {
  const web = new URL("../../src/server/web/", import.meta.url);
  const modules = new Set();
  const visit = (name) => {
    for (const [, path] of readFileSync(new URL(name, web), "utf8").matchAll(/from "(\.[^"]+)"/g)) {
      const imported = new URL(path, new URL(name, web)).href.slice(web.href.length);
      if (modules.has(imported)) continue;
      modules.add(imported);
      visit(imported);
    }
  };
  visit("task/task.js");
  const html = readFileSync(new URL("task/task.html", web), "utf8");
  const preloaded = [...html.matchAll(/modulepreload" href="\/assets\/([^"]+)"/g)].map(([, name]) => name);
  assert.deepEqual(preloaded.sort(), [...modules].sort());
});
