// Joins the lines of a log that redraw each other into blocks, each drawn as the terminal would have
// shown its final state.
//
// ```
// lines in the store ──> segments of 1000 line numbers ──> groups of lines ──> Screen of a group
// ```
// A line that moves the cursor up joins the lines whose rows it reaches; so does every line that starts
// above the lowest row. Lines load in pages from anywhere, so a group never crosses the start of a
// segment, a gap, or a range that is not loaded. If a redraw does cross the start of a segment, the
// later segment continues with the screen of the earlier one and takes over the rows that it reaches.
// A row that was not redrawn for more than 1000 lines may therefore be missing from the final state.

import { Screen } from "./screen.js";
import { Segment } from "./segment.js";

export const SEGMENT_LINES = 1000;
const SEGMENTS_KEPT = 24;
const SCREENS_KEPT = 16;
const OPEN_MAX = 1000;

/** A store whose redrawn lines are blocks: `{ block: true, n, to, frames, lost, rows, internals }`. */
export class BlockView {
  constructor(store) {
    this.store = store;
    this.segments = new Map();
    this.blocks = new Map();
    /** Lines whose block is shown as written. */
    this.unfolded = new Set();
    /** Lines that must be visible. */
    this.wanted = new Set();
    /** Whether a row has been seen that is not one line of text. */
    this.irregular = false;
  }

  get first() {
    return this.store.first;
  }

  get last() {
    return this.store.last;
  }

  get wideGaps() {
    return this.store.wideGaps + (this.irregular ? 1 : 0);
  }

  next(n) {
    return this.joined(this.store.next(n));
  }

  prev(n) {
    return this.joined(this.store.prev(n));
  }

  joined(item) {
    return item === null || item.hole || item.gap ? item : this.blockAt(item.n) ?? item;
  }

  /** Returns the block that is shown in place of line n, or null. */
  blockAt(n) {
    const group = this.groupAt(n);
    return group === null || this.isOpen(group) ? null : this.block(group);
  }

  /** Returns the lines of the block that line n belongs to, shown or not, as `{ first, last }`; or null. */
  groupAt(n) {
    const at = Math.floor(n / SEGMENT_LINES);
    const groups = this.groupsOf(at);
    let low = 0;
    let high = groups.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (groups[middle].last < n) low = middle + 1;
      else high = middle;
    }
    const group = groups[low];
    if (!group || group.first > n) return null;
    const single = group.first === group.last && group.cut === undefined && !group.continues;
    return single ? null : { ...group, at };
  }

  groupsOf(at) {
    const segment = this.segment(at);
    if (segment.groups.length === 0) return segment.groups;
    const before = segment.from > this.store.first && segment.isJoined ? this.segment(at - 1) : null;
    const next = segment.to < this.store.last ? this.segment(at + 1) : null;
    const below = before?.groups.length > 0 && before.reachesEnd ? before.below : 0;
    const over = next?.isJoined && segment.reachesEnd && (next.above > 0 || segment.below > 0);
    return segment.groupsBeside(below, over ? next.above : null);
  }

  segment(at) {
    this.forgetRemoved();
    const kept = this.segments.get(at);
    if (kept && (kept.complete || kept.version === this.store.version)) return kept;
    const from = at * SEGMENT_LINES;
    const segment = new Segment(from, from + SEGMENT_LINES - 1);
    const items = this.store.range(from, segment.to);
    segment.read(items, from > this.store.first);
    segment.version = this.store.version;
    segment.complete = segment.to < this.store.last && items.every((item) => !item.hole);
    if (segment.tall || segment.above > 0 || segment.groups.some((group) => group.first !== group.last)) this.irregular = true;
    this.segments.delete(at);
    this.segments.set(at, segment);
    if (this.segments.size > SEGMENTS_KEPT) this.segments.delete(this.segments.keys().next().value);
    return segment;
  }

  // What the store no longer holds is not kept here either.
  forgetRemoved() {
    if (this.generation === this.store.generation) return;
    this.generation = this.store.generation;
    this.segments.clear();
    this.blocks.clear();
  }

  isOpen(group) {
    const inside = (n) => n >= group.first && n <= group.last;
    for (const n of this.unfolded) if (inside(n)) return true;
    for (const n of this.wanted) if (inside(n) && !this.block(group).rows.some((row) => row.n === n)) return true;
    return false;
  }

  // Returns the item of a group. While the group grows, its screen is kept.
  block(group) {
    const key = group.first;
    const cut = group.cut ?? null;
    const context = this.contextOf(group);
    const kept = this.blocks.get(key);
    const same = kept && kept.context.name === context.name;
    if (same && kept.to === group.last && kept.cut === cut) return kept;
    const drawing = same && kept.to <= group.last ? kept.drawing : new Drawing(key, context);
    drawing.feed(this.segment(group.at).lines(drawing.fed + 1, group.last));
    const block = { block: true, n: key, to: group.last, cut, context, drawing, frames: group.redraws, ...drawing.result(cut) };
    this.blocks.delete(key);
    this.blocks.set(key, block);
    if (this.blocks.size > SCREENS_KEPT) this.blocks.delete(this.blocks.keys().next().value);
    return block;
  }

  // Returns the lines of the segment before that a group continues, and how many of their rows it reaches.
  contextOf(group) {
    if (!group.continues || group.at === 0) return { name: "", lines: [], above: 0 };
    const { above } = this.segment(group.at);
    const before = this.segment(group.at - 1);
    const last = before.groupsBeside(0, above).at(-1);
    if (last === undefined) return { name: "", lines: [], above };
    return { name: `${last.first} ${last.last} ${above}`, lines: before.lines(last.first, last.last), above };
  }

  /** Shows the lines of the block of line n as written. */
  unfold(n) {
    remember(this.unfolded, n);
  }

  /** Shows the final state of the block of line n. */
  fold(n) {
    const group = this.groupAt(n);
    if (group === null) return;
    for (const set of [this.unfolded, this.wanted]) {
      for (const number of [...set]) if (number >= group.first && number <= group.last) set.delete(number);
    }
  }

  /** Makes sure that line n is visible, also if it is loaded later. */
  want(n) {
    remember(this.wanted, n);
  }
}

function remember(set, n) {
  set.delete(n);
  set.add(n);
  if (set.size > OPEN_MAX) set.delete(set.values().next().value);
}

/** The screen of one block, which grows with it. */
class Drawing {
  constructor(first, { lines, above }) {
    this.screen = new Screen();
    this.internals = [];
    this.feed(lines);
    this.fed = first - 1;
    this.internals = [];
    this.skip = Math.max(0, this.screen.row - above);
    this.screen.lost = false;
  }

  feed(lines) {
    const { screen } = this;
    for (const line of lines) {
      this.fed = line.n;
      this.last = line;
      if (line.stream === "internal") {
        this.internals.push(line);
        continue;
      }
      screen.feed(line.line, line.n, line);
      if (!line.partial) screen.newline();
    }
  }

  result(cut) {
    const rows = this.screen.finish();
    const end = cut === null ? rows.length : Math.max(this.skip, this.screen.row - cut);
    return { rows: rows.slice(this.skip, end), lost: this.screen.lost || cut !== null, internals: [...this.internals], timestamp: this.last?.timestamp };
  }
}
