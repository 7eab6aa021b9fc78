// What the page draws of a program's progress output, compared with tmux.
//
// data/screens/NAME.txt is the output of a real program, NAME.screen what tmux showed of it; scripts/screens.py
// makes both.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { plainText } from "../../src/server/web/shared/ansi.js";
import { BlockView, SEGMENT_LINES } from "../../src/server/web/shared/blocks.js";
import { Store } from "../../src/server/web/shared/store.js";

const FOLDER = new URL("../../data/screens/", import.meta.url);
const read = (name) => readFileSync(new URL(name, FOLDER), "utf8");
const linesOf = (text) => text.replace(/\n$/, "").split("\n");

/** Returns a view of lines that begin at number `first`, all loaded. */
function viewOf(lines, first = 1) {
  const store = new Store();
  store.first = first;
  lines.forEach((line, i) => store.append(first + i, typeof line === "string" ? { n: first + i, line, stream: "stdout" } : { n: first + i, stream: "stdout", ...line }));
  return new BlockView(store);
}

const textOf = (row) => row.spans.map((span) => span.text).join("").trimEnd();

/** Returns every item of a view in order. */
function itemsOf(view) {
  const items = [];
  for (let item = view.next(view.first); item !== null; item = view.next((item.to ?? item.n) + 1)) items.push(item);
  return items;
}

/** Returns the text of the rows that the page draws. */
const drawn = (view) => itemsOf(view).flatMap((item) => (item.block ? item.rows.map(textOf) : plainText(item.line).trimEnd().split("\n")));

function withoutEnd(rows) {
  const kept = [...rows];
  while (kept.at(-1) === "") kept.pop();
  return kept;
}

const names = readdirSync(FOLDER).filter((name) => name.endsWith(".txt")).map((name) => name.slice(0, -4));

test("there are recordings of many programs", () => {
  assert.ok(names.length >= 12, names.join(" "));
});

for (const name of names) {
  test(`${name} is drawn as in a terminal`, () => {
    const lines = linesOf(read(`${name}.txt`));
    assert.deepEqual(withoutEnd(drawn(viewOf(lines))), linesOf(read(`${name}.screen`)));
  });

  test(`${name} is drawn the same across the start of a segment`, () => {
    const lines = linesOf(read(`${name}.txt`));
    for (const before of [1, 2, 5, Math.floor(lines.length / 2)].filter((count) => count < lines.length)) {
      const view = viewOf(lines, 3 * SEGMENT_LINES - before);
      assert.deepEqual(withoutEnd(drawn(view)), linesOf(read(`${name}.screen`)), `${before} lines before it`);
    }
  });
}

/** The frames of four bars, as docker draws them. */
const frames = (count) => Array.from({ length: count * 4 }, (_, i) => `${i > 0 && i % 4 === 0 ? "\x1b[4A" : ""}\x1b[2Kbar ${i % 4}: ${Math.floor(i / 4)}`);

test("redraws longer than a segment end in one final state", () => {
  for (let shift = 0; shift < 6; shift += 1) {
    const lines = [...Array.from({ length: 990 + shift }, (_, i) => `before ${i}`), ...frames(700), "after"];
    const shown = drawn(viewOf(lines));
    assert.deepEqual(shown.slice(988 + shift), ["before " + (988 + shift), "before " + (989 + shift), "bar 0: 699", "bar 1: 699", "bar 2: 699", "bar 3: 699", "after"]);
  }
});

test("frames above a line printed between them are kept, and every line is in one item", () => {
  const lines = [];
  for (let i = 0; i < 1500; i += 1) lines.push(`${i > 0 ? "\x1b[2A\x1b[J" : ""}line ${i}`, `bar a ${i}`, `bar b ${i}`);
  const view = viewOf(lines);
  assert.deepEqual(drawn(view), [...Array.from({ length: 1500 }, (_, i) => `line ${i}`), "bar a 1499", "bar b 1499"]);
  let at = 1;
  for (const item of itemsOf(view)) {
    assert.equal(item.n, at);
    at = (item.to ?? item.n) + 1;
  }
  assert.equal(at, lines.length + 1);
});

test("items are the same from every side and however the lines were loaded", () => {
  const lines = [];
  for (let i = 0; lines.length < 3000; i += 1) lines.push(...Array.from({ length: (i * 7) % 50 }, (_, k) => `plain ${i} ${k}`), ...frames((i * 5) % 13));
  const wanted = itemsOf(viewOf(lines)).map((item) => [item.n, item.to]);
  const store = new Store();
  store.grow(lines.length);
  const view = new BlockView(store);
  for (const [from, to] of [[900, 1400], [2500, lines.length], [1, 899], [1401, 2499]]) {
    store.put(from, to, lines.slice(from - 1, to).map((line, i) => ({ n: from + i, line, stream: "stdout" })));
    itemsOf(view);
  }
  assert.deepEqual(itemsOf(view).map((item) => [item.n, item.to]), wanted);
  const back = [];
  for (let item = view.prev(lines.length); item !== null; item = view.prev(item.n - 1)) back.unshift([item.n, item.to]);
  assert.deepEqual(back, wanted);
});

test("a gap, a mark of skipped lines and a hidden line part redraws", () => {
  const marked = viewOf(["a", "b", { line: "[7 messages skipped]", stream: "internal" }, "\x1b[2Ac", "d"]);
  assert.deepEqual(itemsOf(marked).map(({ n, to }) => to ?? n), [1, 2, 3, 4, 5]);
  const own = viewOf(["a", { line: "worker reconnected", stream: "internal" }, "\x1b[Ab"]);
  const [block] = itemsOf(own);
  assert.deepEqual([block.n, block.to, block.rows.map(textOf), block.internals.length], [1, 3, ["b"], 1]);
});

test("text after a finished redraw is not part of it", () => {
  const lines = [...["a", "b", "c", "d"].map((name) => `${name} 1`), `${"\x1b[1A\x1b[2K".repeat(4)}all done`, "", "next", "more"];
  assert.deepEqual(itemsOf(viewOf(lines)).map((item) => [item.n, item.to]), [[1, 5], [6, undefined], [7, undefined], [8, undefined]]);
  assert.deepEqual(drawn(viewOf(lines)), ["all done", "", "next", "more"]);
});

test("cleared screens, saved places and the alternate screen", () => {
  assert.deepEqual(drawn(viewOf(["first", "\x1b[H\x1b[2Jdate 1", "\x1b[H\x1b[2Jdate 2", "\x1b[H\x1b[2Jdate 3"])), ["first", "date 3"]);
  assert.deepEqual(drawn(viewOf(["a", "b", "\x1b[s\x1b[2A\x1b[2KA\x1b[uc"])), ["A", "b", "c"]);
  assert.deepEqual(drawn(viewOf(["$ less", "\x1b[?1049h\x1b[Hpage 1", "more", "\x1b[Hpage 2\x1b[?1049l$ exit"])), ["$ less", "$ exit"]);
  assert.deepEqual(drawn(viewOf(["a", "b", "c", "\x1b[3A\x1b[L\x1b[32mnew\x1b[0m", "\x1b[3B"])), ["new", "a", "b", "c"]);
  assert.deepEqual(drawn(viewOf(["a", "b", "c", "\x1b[3A\x1b[M"])), ["b", "c"]);
});

test("hostile movement takes no noticeable time", () => {
  const begun = process.cpuUsage();
  for (const line of ["\x1b[200Bx\x1b[H", "\x1b[99L\x1b[Ax", "x\x1b[A\x1b[1J", "\x1b[99Mx\x1b[2J\x1b[9A", "\x1b[?1049hx\x1b[?1049l"]) {
    drawn(viewOf(Array(500).fill(line.repeat(20))));
  }
  assert.ok(process.cpuUsage(begun).user < 8_000_000);
});
