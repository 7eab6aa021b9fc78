// Folded sections over a store, and colours made readable: pure functions.

import assert from "node:assert/strict";
import { test } from "node:test";
import { contrast, readable } from "../../src/server/web/shared/contrast.js";
import { Store } from "../../src/server/web/shared/store.js";
import { SectionView } from "../../src/server/web/task/sections.js";

const section = (from, to, more = {}) => ({ title: `from ${from}`, from, to, started: null, ended: null, open: to === null, level: 1, errors: 0, ...more });

/** A view of `last` lines, of which `loaded` ranges are in memory. */
function viewOf(last, loaded = [[1, last]]) {
  const store = new Store();
  store.grow(last);
  for (const [from, to] of loaded) {
    store.put(from, to, Array.from({ length: to - from + 1 }, (_, i) => ({ n: from + i, line: `line ${from + i}`, stream: "stdout" })));
  }
  store.want = () => {};
  return new SectionView(store);
}

/** All items downwards, or upwards, as text. */
function walk(view, upwards = false) {
  const found = [];
  let at = upwards ? view.last : view.first;
  for (let item = upwards ? view.prev(at) : view.next(at); item !== null; item = upwards ? view.prev(at) : view.next(at)) {
    found.push(item.section ? `[${item.n}-${item.to}]` : item.hole ? `?${item.from}-${item.to}` : String(item.n));
    at = upwards ? (item.hole ? item.from : item.n) - 1 : (item.to ?? item.n) + 1;
  }
  return found.join(" ");
}

test("folded sections are one item, from both directions", () => {
  const view = viewOf(12);
  assert.equal(view.update([section(2, 4), section(5, 7, { errors: 1 }), section(8, 10), section(11, null)]), true);
  assert.equal(walk(view), "1 [2-4] 5 6 7 [8-10] 11 12");
  assert.equal(walk(view, true), "12 11 [8-10] 7 6 5 [2-4] 1");
  assert.equal(view.update([section(2, 4), section(5, 7, { errors: 1 }), section(8, 10), section(11, null)]), false);
  assert.equal(view.next(3).n, 2);
  assert.equal(view.prev(3).to, 4);
});

test("missing lines are requested only outside of folded sections", () => {
  const view = viewOf(100, [[1, 10], [91, 100]]);
  view.update([section(20, 40), section(60, 80)]);
  assert.equal(walk(view), `${[1, 2, 3, 4, 5, 6, 7, 8, 9, 10].join(" ")} ?11-19 [20-40] ?41-59 [60-80] ?81-90 ${[91, 92, 93, 94, 95, 96, 97, 98, 99, 100].join(" ")}`);
  assert.ok(walk(view, true).startsWith("100 99") && walk(view, true).includes("91 ?81-90 [60-80] ?41-59 [20-40] ?11-19 10"));
});

test("nested sections fold with the outer one, and unfold for a line inside", () => {
  const view = viewOf(20);
  view.update([section(2, 15), section(4, 8, { level: 2 }), section(10, 12, { level: 2 })]);
  assert.equal(walk(view), "1 [2-15] 16 17 18 19 20");
  view.want(6);
  assert.equal(walk(view), "1 2 3 4 5 6 7 8 9 [10-12] 13 14 15 16 17 18 19 20");
  view.toggle(2);
  assert.equal(walk(view), "1 [2-15] 16 17 18 19 20");
  view.toggleAll();
  assert.equal(walk(view).includes("["), false);
  view.pause(true);
  view.toggleAll();
  assert.equal(walk(view).includes("["), false, "nothing is folded during a replay");
});

test("the last section of a failed task, and one that ends on the screen, stay open", () => {
  const failed = viewOf(20);
  failed.update([section(2, 8), section(9, 20)], { failed: true });
  assert.equal(walk(failed).includes("[9-20]"), false);
  assert.ok(walk(failed).includes("[2-8]"));
  const read = viewOf(20);
  read.update([section(2, null)]);
  read.update([section(2, 18)], { visible: { first: 5, last: 9 } });
  assert.equal(walk(read).includes("["), false);
  const followed = viewOf(20);
  followed.update([section(2, null)]);
  followed.update([section(2, 18)]);
  assert.ok(walk(followed).includes("[2-18]"));
});

test("any colour becomes readable on any background, and a readable one is kept", () => {
  assert.equal(Math.round(contrast("#000000", "#ffffff")), 21);
  assert.equal(readable("#24292f", ["#ffffff"]), "#24292f");
  for (let i = 0; i < 500; i += 1) {
    const [colour, background] = [i * 33_521, i * 77_773 + 11].map((seed) => `#${(seed % 0x1000000).toString(16).padStart(6, "0")}`);
    const made = readable(colour, [background]);
    assert.ok(contrast(made, background) >= 4.5, `${colour} on ${background}: ${made}`);
  }
});
