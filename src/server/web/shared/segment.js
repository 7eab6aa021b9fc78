// Finds the lines of a part of a log that redraw each other, by the rows that their cursor movement
// reaches. Pure; it draws nothing.

import { scan, SPECIAL } from "./escapes.js";
import { SCREEN_ROWS_MAX } from "./screen.js";

const VERTICAL = /\n|(?:\u001b\[|\u009b)(?:[\d;]*[ABEFHJLMdef]|[su]|\?(?:10)?4[79][hl])|\u001b[78DMEc]/;
const FLAT = Object.freeze({ end: 1, min: 0, max: 0, absolute: false, saved: null, changes: [] });
const FILLED = 1;
const BLANK = 0;
const BLANK_BELOW = -1;

// Follows the row of the cursor through a line, which starts in row 0. The saved row, the highest and the
// lowest row of the screen come from the lines before; `depends` if they matter.
class Motion {
  constructor({ savedRow, highest, lowest }) {
    Object.assign(this, { row: 0, min: 0, max: 0, highest, lowest, savedRow, saved: null });
    Object.assign(this, { absolute: false, depends: false, leaves: false, elsewhere: false });
    /** What became of the rows, in order: pairs of a row and a kind of change. */
    this.changes = [];
  }

  text(text) {
    if (/\S/.test(text)) this.change(FILLED);
  }

  change(kind) {
    const last = this.changes.at(-1);
    if (!this.elsewhere && !(last?.row === this.row && last.kind === kind)) this.changes.push({ row: this.row, kind });
  }

  link() {}

  control(code) {
    if (code === 0x0a) this.to(this.row + 1);
  }

  escape(final) {
    if (final === "7") this.save();
    else if (final === "8") this.recall();
    else if (final === "M") this.to(this.row - 1);
    else if (final === "D" || final === "E") this.to(this.row + 1);
    else if (final === "c") this.absolute = true;
  }

  csi(final, parameters) {
    if (parameters.startsWith("?")) {
      if (/^\?(?:10)?4[79]$/.test(parameters)) this.absolute = true;
      return;
    }
    const count = Math.min(SCREEN_ROWS_MAX, Math.max(1, parseInt(parameters, 10) || 1));
    if (final === "A" || final === "F") this.to(this.row - count);
    else if (final === "B" || final === "E" || final === "e") this.down(count);
    else if (final === "H" || final === "f" || final === "d") this.jump();
    else if (final === "J" && parameters === "2") this.absolute = true;
    else if (final === "J" && (parameters === "" || parameters === "0")) this.change(BLANK_BELOW);
    else if (final === "K" && parameters === "2") this.change(BLANK);
    else if (final === "s" && parameters === "") this.save();
    else if (final === "u" && parameters === "") this.recall();
  }

  down(count) {
    if (this.row + count > this.max) this.depends = true;
    this.to(Math.max(this.row, Math.min(this.row + count, Math.max(this.max, this.lowest))));
  }

  to(row) {
    if (this.elsewhere) return;
    if (row < this.highest) this.depends = true;
    this.row = Math.max(row, this.highest);
    this.min = Math.min(this.min, this.row);
    this.max = Math.max(this.max, this.row);
  }

  save() {
    this.saved = this.row;
    this.leaves = true;
  }

  recall() {
    this.elsewhere = false;
    this.leaves = false;
    if (this.saved === null) this.depends = true;
    const row = this.saved ?? this.savedRow;
    if (row !== null) this.to(row);
  }

  jump() {
    if (this.leaves) this.elsewhere = true;
    else this.absolute = true;
  }
}

// Returns how a line moves the cursor, relative to its first row: the row where the next line starts, the
// highest and the lowest row, and the row that it saved.
function motionOf(line, around) {
  if (line.motion && !line.motion.depends && line.motion.min >= around.highest) return line.motion;
  const moves = line.motion || (SPECIAL.test(line.line) && VERTICAL.test(line.line));
  if (!moves) return (line.motion = FLAT);
  const motion = new Motion(around);
  scan(line.line, motion);
  const { row, min, max, absolute, saved, depends, changes } = motion;
  return (line.motion = { end: row + 1, min, max, absolute, saved, depends, changes });
}

/** The lines of a segment in groups; `above` is how many rows of the segment before they reach. */
export class Segment {
  constructor(from, to) {
    this.from = from;
    this.to = to;
    this.items = [];
    this.groups = [];
    this.above = 0;
    this.tall = false;
    this.complete = false;
  }

  /** Reads the loaded items, which may be gaps and holes; `continues` if there are lines before them. */
  read(items, continues) {
    this.items = items;
    this.start();
    let first = continues;
    for (const item of items) {
      const breaks = item.hole || item.gap || isMark(item);
      if (breaks) this.start();
      else if (item.stream !== "internal") this.add(item, first);
      first = first && !breaks;
    }
  }

  // What follows does not reach the rows so far.
  start() {
    const row = Math.max(this.row ?? 0, this.groups.at(-1)?.bottom ?? 0);
    Object.assign(this, { row, base: row, lowest: row, origin: null, saved: null, filled: [] });
  }

  add(line, first) {
    const { row } = this;
    const highest = (first ? -SCREEN_ROWS_MAX : this.base) - row;
    const motion = motionOf(line, { savedRow: this.saved === null ? null : this.saved - row, highest, lowest: this.lowest - row });
    let top = row + motion.min;
    if (motion.absolute) top = Math.min(top, this.home());
    this.above = Math.max(this.above, this.base - top);
    this.leaveBlankRows();
    this.join({ first: line.n, last: line.n, top, bottom: row + motion.max + 1, redraws: top < row || motion.absolute ? 1 : 0 });
    if (motion.saved !== null) this.saved = row + motion.saved;
    this.lowest = Math.max(this.lowest, row + motion.max, row + motion.end);
    if (motion === FLAT) this.filled[row + SCREEN_ROWS_MAX] = line.line !== "";
    else for (const change of motion.changes) this.apply(change.kind, row + change.row, this.lowest);
    this.row = row + motion.end;
    if (motion.max > 0) this.tall = true;
  }

  apply(kind, row, lowest) {
    const at = row + SCREEN_ROWS_MAX;
    const last = Math.min(lowest + SCREEN_ROWS_MAX, at + SCREEN_ROWS_MAX);
    if (kind === BLANK_BELOW) for (let below = at + 1; below <= last; below += 1) this.filled[below] = false;
    else this.filled[at] = kind === FILLED;
  }

  // A line is not part of a redraw if only blank rows are left of it.
  leaveBlankRows() {
    const before = this.groups.at(-1);
    if (before && before.bottom > this.row && this.below === 0) before.bottom = Math.max(before.top + 1, this.row);
  }

  join(group) {
    for (let before = this.groups.at(-1); before && before.bottom > group.top; before = this.groups.at(-1)) {
      this.groups.pop();
      group.first = before.first;
      group.top = Math.min(group.top, before.top);
      group.bottom = Math.max(group.bottom, before.bottom);
      group.redraws += before.redraws;
    }
    this.groups.push(group);
  }

  home() {
    const far = this.origin !== null && (this.row < this.origin || this.row - this.origin > SCREEN_ROWS_MAX);
    if (this.origin === null || far) this.origin = this.row;
    return this.origin;
  }

  /** How many rows, from the row of the cursor on, are left to be redrawn. */
  get below() {
    let last = this.lowest;
    while (last >= this.row && !this.filled[last + SCREEN_ROWS_MAX]) last -= 1;
    return last + 1 - this.row;
  }

  /** Reports whether the last line is loaded and no gap follows it. */
  get reachesEnd() {
    const last = this.items.at(-1);
    return last !== undefined && !last.hole && !last.gap && !isMark(last);
  }

  /** Reports whether the segment goes on where the one before ends. */
  get isJoined() {
    const [first] = this.items;
    return first !== undefined && first.n === this.from && !first.gap && !isMark(first);
  }

  /**
   * Returns the groups beside other segments. The first group continues the segment before if that left
   * `below` rows to be redrawn or if it reaches above the start; the last one is `cut` rows from the end
   * of the text, where the next segment takes over.
   */
  groupsBeside(below, cut) {
    const name = `${below} ${cut}`;
    if (this.beside?.name === name) return this.beside.groups;
    let { groups } = this;
    if (below > 0 || this.above > 0) {
      const free = groups.findIndex((group) => group.top >= below && group.top >= 0);
      const joined = free < 0 ? groups.length : Math.max(1, free);
      groups = [{ ...merged(groups.slice(0, joined)), continues: true }, ...groups.slice(joined)];
    }
    const at = cut === null ? -1 : groups.findIndex((group) => group.bottom > this.row - cut);
    if (at >= 0) groups = [...groups.slice(0, at), { ...merged(groups.slice(at)), cut }];
    this.beside = { name, groups };
    return groups;
  }

  lines(first, last) {
    return this.items.filter((item) => !item.hole && !item.gap && item.n >= first && item.n <= last);
  }
}

function merged(groups) {
  const redraws = groups.reduce((sum, group) => sum + group.redraws, 0);
  return { ...groups.at(-1), ...groups[0], last: groups.at(-1).last, bottom: Math.max(...groups.map((group) => group.bottom)), redraws };
}

const MARK = /^\[\d+ (?:messages|lines) /;
const isMark = (item) => item.stream === "internal" && MARK.test(item.line);
