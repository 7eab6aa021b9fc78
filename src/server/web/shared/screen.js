// Draws text with cursor movement as a terminal would have shown it. Pure.
//
// The rows have no fixed number: they are the terminal's scrollback and screen together. A newline adds
// a row, and a later line can change the rows above it. The size of the original terminal is not known:
//
// - Rows do not wrap, and the cursor moves up to the first row at most.
// - Absolute row numbers count from the row at the first absolute move or the first cleared screen.
//   An absolute move between "save cursor" and "restore cursor" leaves the flow of the text: apt draws its
//   progress bar so, below the scroll region. What is written there is not kept.
// - A cleared screen erases what was drawn since then. Earlier rows stay, as in the scrollback.

import { scan } from "./escapes.js";
import { applySgr, PLAIN, Spans } from "./sgr.js";
import { safeUrl } from "./urls.js";
import { eachCluster } from "./width.js";

const TAB_COLUMNS = 8;
// A move to a column beyond any screen means its right edge.
const COLUMNS_MAX = 500;
const COLUMNS_ASSUMED = 80;
// Bounds the memory of a hostile line.
const WRITTEN_COLUMNS_MAX = 1 << 17;
const ROWS_MAX = 1 << 17;
/** An absolute move reaches at most this many rows from the first one. */
export const SCREEN_ROWS_MAX = 200;
const REPEAT_MAX = 1000;
const BLANK = Object.freeze({ text: " ", style: PLAIN });

/** A terminal's rows. */
export class Screen {
  /** With `flat`, all text is drawn in one row and vertical moves do nothing. */
  constructor({ flat = false } = {}) {
    this.flat = flat;
    this.rows = [];
    this.row = 0;
    this.lowest = 0;
    this.column = 0;
    this.style = PLAIN;
    this.saved = null;
    this.origin = null;
    this.region = null;
    this.alternate = null;
    /** Whether the cursor left the flow of the text. */
    this.elsewhere = false;
    /** Whether text of an earlier line was overwritten or erased. */
    this.lost = false;
    this.n = 0;
  }

  /** Draws one line of the log, number `n`, without the newline at its end. */
  feed(text, n = 0, tag = null) {
    this.n = n;
    this.tag = tag;
    scan(text.endsWith("\r") ? text.replace(/\r+$/, "") : text, this);
  }

  newline() {
    this.elsewhere = false;
    const row = this.rowAt(this.row);
    if (row.cells.length === 0) Object.assign(row, { n: this.n, tag: this.tag });
    this.down(1);
    this.column = 0;
  }

  /**
   * Returns the rows as `{ n, tag, spans }`, where `n` is the line that last wrote to the row. A row that
   * did not change since the last call is the same object as then.
   */
  finish() {
    const last = this.rows.findLastIndex((row, index) => index < this.row || row.cells.length > 0);
    return this.rows.slice(0, Math.max(last + 1, this.row)).map((row) => (row.drawn ??= drawn(row)));
  }

  rowAt(index) {
    while (this.rows.length <= index) this.rows.push(this.blankRow());
    const row = this.rows[index];
    if (row) row.drawn = null;
    return row;
  }

  blankRow() {
    return { n: this.n, tag: this.tag, cells: [], drawn: null };
  }

  down(rows) {
    this.row = Math.min(this.row + rows, ROWS_MAX);
    this.lowest = Math.max(this.lowest, this.row);
  }

  // The parts of a text, see `scan`.

  text(text) {
    if (this.elsewhere) return;
    if (!text.includes("\t")) return this.write(text);
    text.split("\t").forEach((part, index) => {
      if (index > 0) this.column += TAB_COLUMNS - (this.column % TAB_COLUMNS);
      this.write(part);
    });
    return undefined;
  }

  control(code) {
    if (code === 0x0d) this.column = 0;
    else if (code === 0x08) this.column = Math.max(0, this.column - 1);
    else if (code === 0x0a && !this.flat) this.newline();
    else if (code >= 0x200e && !this.elsewhere) {
      this.write(`<U+${code.toString(16).toUpperCase()}>`, { control: true });
    }
  }

  link(target) {
    const { link: before, ...style } = this.style;
    const href = target === "" ? null : safeUrl(target);
    this.style = href === null ? style : { ...style, link: href };
  }

  escape(final) {
    if (final === "7") this.save();
    else if (final === "8") this.restore();
    else if (final === "D" && !this.flat) this.down(1);
    else if (final === "M") this.reverseIndex();
    else if (final === "E" && !this.flat) this.newline();
    else if (final === "c") this.reset();
  }

  csi(final, parameters) {
    if (parameters.startsWith("?")) {
      if (/^\?(?:10)?4[79]$/.test(parameters)) this.switchScreen(final);
      return;
    }
    if (final === "m") this.style = applySgr(this.style, parameters);
    else MOVES[final]?.(this, parameters.split(";").map((word) => (word === "" ? 0 : parseInt(word, 10))));
  }

  write(text, style = this.style) {
    if (text === "") return;
    const row = this.rowAt(this.row);
    eachCluster(text, (cluster, width) => {
      if (width === 0) return this.combine(row, cluster);
      if (this.column + width > WRITTEN_COLUMNS_MAX) return undefined;
      this.put(row, cluster, width, style);
      this.column += width;
      return undefined;
    });
    row.n = this.n;
    row.tag = this.tag;
  }

  put(row, text, width, style) {
    const { cells } = row;
    const { column } = this;
    while (cells.length < column) cells.push(BLANK);
    this.split(row, column);
    this.split(row, column + width);
    if (row.n !== this.n) this.noteLoss(row, column, column + width);
    cells[column] = this.cell(text, style);
    if (width === 2) cells[column + 1] = this.cell("", style);
  }

  // Cells with the same text and style are one object, as there may be many of them.
  cell(text, style) {
    if (this.cells?.style !== style) this.cells = { style, made: new Map() };
    const { made } = this.cells;
    if (!made.has(text)) made.set(text, { text, style });
    return made.get(text);
  }

  // Half of a wide character disappears with its other half.
  split(row, column) {
    const { cells } = row;
    if (column === 0 || cells[column]?.text !== "") return;
    cells[column - 1] = BLANK;
    cells[column] = BLANK;
  }

  combine(row, cluster) {
    const { cells } = row;
    let at = Math.min(this.column, cells.length) - 1;
    if (at > 0 && cells[at].text === "") at -= 1;
    if (at < 0) return;
    cells[at] = { ...cells[at], text: cells[at].text + cluster };
  }

  noteLoss(row, from, to) {
    if (this.lost || row.n === this.n) return;
    for (let i = from; i < to && i < row.cells.length; i += 1) {
      if (row.cells[i].text.trim() !== "") this.lost = true;
    }
  }

  /** Moves by rows, and to a column unless it is to be kept. */
  move(rows, column = this.column) {
    this.column = column;
    if (this.flat || this.elsewhere) return;
    // The last row is at the bottom of the screen, unless absolute moves gave the screen a place.
    const lowest = this.origin === null ? this.lowest : Math.max(this.lowest, this.origin + SCREEN_ROWS_MAX);
    this.row = Math.max(0, Math.min(lowest, ROWS_MAX, this.row + rows));
  }

  toColumn(column) {
    this.column = column < COLUMNS_MAX ? column : Math.max(this.column, COLUMNS_ASSUMED - 1);
  }

  /** Moves to an absolute row and column, counted from 0; `column` undefined keeps the column. */
  moveTo(row, column) {
    if (this.saved?.open && this.alternate === null) this.elsewhere = true;
    if (column !== undefined) this.toColumn(column);
    if (this.flat || this.elsewhere) return;
    this.row = Math.min(ROWS_MAX, this.home() + Math.min(row, SCREEN_ROWS_MAX));
    this.lowest = Math.max(this.lowest, this.row);
  }

  // Returns the row that is the first of the screen.
  home() {
    const far = this.origin !== null && (this.row < this.origin || this.row - this.origin > SCREEN_ROWS_MAX);
    if (this.origin === null || far) this.origin = this.row + (this.rows[this.row]?.cells.length > 0 ? 1 : 0);
    return this.origin;
  }

  save() {
    const { row, column, style } = this;
    this.saved = { row, column, style, open: true };
  }

  restore() {
    this.elsewhere = false;
    if (this.saved === null) return;
    const { row, column, style } = this.saved;
    Object.assign(this, { column, style });
    if (!this.flat) this.row = row;
    this.saved.open = false;
  }

  reset() {
    this.style = PLAIN;
    this.region = null;
    this.clear();
    if (!this.flat) this.row = this.home();
    this.column = 0;
  }

  switchScreen(final) {
    if (this.flat) return;
    if (final === "h" && this.alternate === null) {
      const { row, column } = this;
      this.origin = null;
      this.alternate = { row, column, first: this.home() };
      this.row = this.alternate.first;
    } else if (final === "l" && this.alternate !== null) {
      this.eraseRows(this.alternate.first, this.rows.length);
      this.rows.length = Math.min(this.rows.length, this.alternate.first);
      Object.assign(this, { row: this.alternate.row, column: this.alternate.column, origin: null, alternate: null });
    }
  }

  setRegion(top, bottom) {
    this.region = top > 0 && bottom > top ? { top: top - 1, bottom: bottom - 1 } : null;
    // The cursor would move home, but programs that draw in the flow of the text restore it.
  }

  reverseIndex() {
    if (this.flat || this.elsewhere) return;
    if (this.row > 0) this.row -= 1;
    else this.insertRows(1);
  }

  insertRows(count) {
    if (this.flat || this.elsewhere) return;
    const bottom = this.bottom();
    const number = Math.min(count, bottom - this.row + 1);
    this.rowAt(this.row);
    this.eraseRows(bottom - number + 1, bottom + 1);
    if (this.rows.length > bottom) this.rows.splice(bottom - number + 1, number);
    this.rows.splice(this.row, 0, ...this.blankRows(number));
    this.column = 0;
  }

  deleteRows(count) {
    if (this.flat || this.elsewhere) return;
    const bottom = this.bottom();
    const number = Math.min(count, bottom - this.row + 1);
    this.eraseRows(this.row, this.row + number);
    const beyond = this.rows.length > bottom + 1;
    this.rows.splice(this.row, number);
    if (beyond) this.rows.splice(bottom - number + 1, 0, ...this.blankRows(number));
    this.column = 0;
  }

  blankRows(number) {
    return Array.from({ length: number }, () => this.blankRow());
  }

  // Returns the last row that inserting and deleting lines moves.
  bottom() {
    const within = this.region && this.origin !== null;
    return within ? Math.max(this.row, this.origin + this.region.bottom) : this.row + SCREEN_ROWS_MAX;
  }

  eraseInRow(mode) {
    const row = this.rowAt(this.row);
    const { cells } = row;
    const from = mode === 0 ? this.column : 0;
    const to = mode === 1 ? Math.min(this.column + 1, cells.length) : cells.length;
    this.noteLoss(row, from, to);
    this.split(row, from);
    this.split(row, to);
    if (to >= cells.length) cells.length = Math.min(cells.length, from);
    else for (let i = from; i < to; i += 1) cells[i] = BLANK;
  }

  eraseRows(from, to) {
    for (const row of this.rows.slice(from, to)) {
      this.noteLoss(row, 0, row.cells.length);
      row.cells = [];
      row.drawn = null;
    }
  }

  eraseDisplay(mode) {
    if (mode === 0) {
      this.eraseInRow(0);
      this.eraseRows(this.row + 1, this.rows.length);
      if (!this.flat) this.rows.length = Math.min(this.rows.length, this.row + 1);
    } else if (mode === 1) {
      this.eraseInRow(1);
      this.eraseRows(Math.max(this.origin ?? 0, this.row - SCREEN_ROWS_MAX), this.row);
    } else if (mode === 2) this.clear();
  }

  clear() {
    // In a single row, clearing the screen hides no text before the cursor.
    if (this.flat) return this.eraseInRow(0);
    const first = this.home();
    this.eraseRows(first, this.rows.length);
    this.rows.length = Math.min(this.rows.length, first);
    if (this.row < first) this.row = first;
    return undefined;
  }

  editRow(from, removed, inserted) {
    const row = this.rowAt(this.row);
    if (from >= row.cells.length) return;
    this.split(row, from);
    this.split(row, from + removed);
    this.noteLoss(row, from, from + removed);
    row.cells.splice(from, removed, ...Array(inserted).fill(BLANK));
  }

  eraseCells(count) {
    const row = this.rowAt(this.row);
    const to = Math.min(this.column + count, row.cells.length);
    this.noteLoss(row, this.column, to);
    this.split(row, this.column);
    this.split(row, to);
    for (let i = this.column; i < to; i += 1) row.cells[i] = BLANK;
  }

  repeat(count) {
    const cell = this.rows[this.row]?.cells[this.column - 1];
    if (cell && !this.elsewhere) this.write(cell.text.repeat(Math.min(count, REPEAT_MAX)), cell.style);
  }
}

function drawn(row) {
  const spans = new Spans();
  for (const cell of row.cells) spans.write(cell.text, cell.style);
  return { n: row.n, tag: row.tag, spans: spans.spans };
}

const atLeastOne = (count) => Math.min(Math.max(1, count || 1), COLUMNS_MAX);
const inFlow = (act) => (screen, parameters) => screen.elsewhere || act(screen, parameters);

const MOVES = {
  A: (screen, [n]) => screen.move(-atLeastOne(n)),
  B: (screen, [n]) => screen.move(atLeastOne(n)),
  e: (screen, [n]) => screen.move(atLeastOne(n)),
  C: (screen, [n]) => screen.toColumn(screen.column + Math.max(1, n)),
  a: (screen, [n]) => screen.toColumn(screen.column + Math.max(1, n)),
  D: (screen, [n]) => (screen.column = Math.max(0, screen.column - Math.max(1, n))),
  E: (screen, [n]) => screen.move(atLeastOne(n), 0),
  F: (screen, [n]) => screen.move(-atLeastOne(n), 0),
  G: (screen, [n]) => screen.toColumn(Math.max(1, n) - 1),
  "`": (screen, [n]) => screen.toColumn(Math.max(1, n) - 1),
  d: (screen, [n]) => screen.moveTo(Math.max(1, n) - 1),
  H: (screen, [row, column]) => screen.moveTo(Math.max(1, row) - 1, Math.max(1, column || 1) - 1),
  f: (screen, [row, column]) => screen.moveTo(Math.max(1, row) - 1, Math.max(1, column || 1) - 1),
  J: inFlow((screen, [mode]) => screen.eraseDisplay(mode)),
  K: inFlow((screen, [mode]) => mode <= 2 && screen.eraseInRow(mode)),
  L: (screen, [n]) => screen.insertRows(atLeastOne(n)),
  M: (screen, [n]) => screen.deleteRows(atLeastOne(n)),
  P: inFlow((screen, [n]) => screen.editRow(screen.column, atLeastOne(n), 0)),
  "@": inFlow((screen, [n]) => screen.editRow(screen.column, 0, atLeastOne(n))),
  X: inFlow((screen, [n]) => screen.eraseCells(atLeastOne(n))),
  b: (screen, [n]) => screen.repeat(atLeastOne(n)),
  r: (screen, [top, bottom]) => screen.setRegion(Math.max(1, top), bottom ?? 0),
  s: (screen, parameters) => parameters.length === 1 && screen.save(),
  u: (screen, parameters) => parameters.length === 1 && screen.restore(),
};
