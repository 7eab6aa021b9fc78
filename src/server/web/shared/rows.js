// Builds the elements of a log row. Log text only becomes text nodes, never markup.

import { isRewritten, parseLine } from "./ansi.js";
import { element } from "./dom.js";
import { clock, count, counted, delta, gapText, span } from "./format.js";
import { styled } from "./styled.js";
import { withLinks } from "./urls.js";

// Longer lines are clipped: laying out 64 KiB per row would stutter.
const SHOWN_CHARS_MAX = 4000;
const MARK = /^\[(\d+) (messages skipped|messages lost in transit|lines over the limit of [^\]]+)\]$/;

export const TIME_MODES = ["off", "clock", "start", "delta"];

/** Returns the gap that an `internal` line marks, or null. */
export function markGap(line) {
  if (line.stream !== "internal") return null;
  const match = MARK.exec(line.line);
  if (!match) return null;
  const reason = { "messages skipped": "skipped", "messages lost in transit": "lost_in_transit" }[match[2]] ?? "quota";
  return { from: line.n, to: line.n, reason, count: Number(match[1]), marked: true };
}

/** A builder of the rows of a task's log. */
export class RowBuilder {
  constructor() {
    this.timeMode = "off";
    this.startMs = null;
    this.expanded = new Set();
    /** The view with the blocks of redrawn lines, if the log has them. */
    this.blocks = null;
    /** Replaces the cells of the first line of a section, and marks the lines of problems, if the log has them. */
    this.outline = null;
    /** The elements of blocks and of their rows, which are drawn again and again. */
    this.kept = new WeakMap();
  }

  /** Returns the element of a store item; `before` is the line shown above it, if known. */
  build(item, before) {
    if (item.hole) return this.hole(item);
    if (item.block) return this.block(item, before);
    if (item.section) return this.outline.folded(item);
    if (item.gap) return gapRow(item, item.n);
    const gap = markGap(item);
    return gap ? gapRow(gap, item.n) : this.line(item, before);
  }

  hole(item) {
    const row = element("div", "row hole");
    row.append(numberCell(item.from), element("span", "text", ""));
    return row;
  }

  line(line, before) {
    const row = element("div", `row ${line.stream}`);
    row.dataset.n = line.n;
    const continued = before && !before.gap && before.partial && before.n === line.n - 1;
    if (line.partial) row.classList.add("partial");
    if (continued) row.classList.add("goes-on");
    row.append(numberCell(line.n));
    if (this.timeMode !== "off") row.append(this.timeCell(line, before));
    const text = element("span", "text");
    this.fill(text, line);
    row.append(text);
    if (line.partial) row.append(mark("cut", "⋯", "Line split here; it continues in the next row"));
    if (line.lossy) row.append(mark("lossy", "�", "Something in this line could not be stored as sent, such as invalid UTF-8, and was replaced"));
    const group = this.blocks?.groupAt(line.n) ?? null;
    if (group !== null) row.classList.add("frame");
    if (group?.first === line.n) row.append(foldButton("▾ show the final state", group));
    this.outline?.decorate(row, line.n);
    return row;
  }

  /** Returns the element of a block: its final rows, and a button that shows its lines as written. */
  block(item, before) {
    const kept = this.keptFor(item);
    if (kept) return kept;
    const made = element("div", "block");
    made.dataset.n = item.n;
    made.dataset.to = item.to;
    if (item.lost) made.append(foldRow(item));
    let above = before;
    for (const row of item.rows) {
      made.append(this.blockRow(row, item, above));
      above = row.tag ?? above;
    }
    for (const line of item.internals) made.append(this.line(line, null));
    // What tasktail wrote itself may become a problem of the outline later.
    if (item.internals.length === 0) this.keep(item, made);
    return made;
  }

  // A row that did not change since the block was drawn last keeps its element.
  blockRow(row, item, before) {
    const kept = this.keptFor(row);
    if (kept) return kept;
    const line = row.tag ?? { n: item.n, stream: "stdout" };
    const made = element("div", `row ${line.stream}`);
    made.dataset.n = line.n;
    made.append(numberCell(line.n));
    if (this.timeMode !== "off") made.append(this.timeCell(line, before));
    const text = element("span", "text");
    const { spans, hidden } = clippedSpans(row.spans, SHOWN_CHARS_MAX);
    for (const part of withLinks(spans, hidden > 0)) text.append(styled(part));
    made.append(text);
    if (hidden > 0) made.append(mark("cut", "…", `${count(hidden)} more characters, see line ${count(line.n)} in the download`));
    this.keep(row, made);
    return made;
  }

  keep(key, made) {
    this.kept.set(key, { timeMode: this.timeMode, made });
  }

  keptFor(key) {
    const kept = this.kept.get(key);
    return kept?.timeMode === this.timeMode && this.timeMode !== "delta" ? kept.made : null;
  }

  fill(cell, line) {
    const { spans, hidden } = clipped(line.line, this.expanded.has(line.n) ? Infinity : SHOWN_CHARS_MAX);
    for (const part of withLinks(spans, hidden > 0 || line.partial === true)) cell.append(styled(part));
    if (hidden === 0) return;
    const more = element("button", "more", `… ${count(hidden)} more characters`);
    more.type = "button";
    more.addEventListener("click", () => {
      this.expanded.add(line.n);
      cell.replaceChildren();
      this.fill(cell, line);
    });
    cell.append(more);
  }

  timeCell(line, before) {
    const at = Date.parse(line.timestamp);
    let words = "";
    if (this.timeMode === "clock") words = clock(at);
    else if (this.timeMode === "start" && this.startMs !== null) words = span(at - this.startMs);
    else if (this.timeMode === "delta" && before?.timestamp) words = delta(at - Date.parse(before.timestamp));
    const cell = element("time", "time", words);
    cell.title = line.timestamp;
    return cell;
  }
}

// Returns the first `charsMax` visible characters, and how many are hidden. A line that rewrites
// itself is parsed to its end, or a long progress bar would show its first state.
function clipped(text, charsMax) {
  const early = text.length > charsMax && !isRewritten(text);
  const shown = clippedSpans(parseLine(early ? text.slice(0, charsMax) : text), charsMax);
  return early ? { ...shown, hidden: shown.hidden + text.length - charsMax } : shown;
}

function clippedSpans(all, charsMax) {
  const spans = [];
  let room = charsMax;
  let hidden = 0;
  for (const span of all) {
    if (room > 0) spans.push(span.text.length > room ? { ...span, text: span.text.slice(0, room) } : span);
    hidden += Math.max(0, span.text.length - room);
    room = Math.max(0, room - span.text.length);
  }
  return { spans, hidden };
}

function foldRow(block) {
  const row = element("div", "row fold");
  const gutter = element("span", "num", "");
  row.append(gutter, foldButton(`▸ ${counted(block.frames, "earlier frame")}`, { first: block.n, last: block.to }));
  return row;
}

function foldButton(words, { first, last }) {
  const button = element("button", "frames", words);
  button.type = "button";
  button.dataset.n = first;
  button.setAttribute("aria-expanded", String(!words.startsWith("▸")));
  button.title = words.startsWith("▸") ? `Show lines ${count(first)} to ${count(last)} as written` : `Fold lines ${count(first)} to ${count(last)}`;
  return button;
}

/** Fills a cell with the text of an unfinished line, as a terminal would show it. */
export function fillText(cell, text) {
  for (const part of clipped(text, SHOWN_CHARS_MAX).spans) cell.append(styled(part));
}

/** Returns the cell with a row's number, which links to the row. */
export function numberCell(n) {
  const cell = element("a", "num");
  cell.href = `#L${n}`;
  cell.tabIndex = -1;
  // CSS draws the number from this attribute, so that copy and find skip it.
  cell.dataset.n = n;
  cell.setAttribute("aria-label", `line ${n}`);
  return cell;
}

function gapRow(gap, n) {
  const row = element("div", `row gap ${gap.reason}`);
  row.dataset.n = n;
  row.append(element("span", "ruler", gapText(gap)));
  return row;
}

function mark(className, text, title) {
  const made = element("span", `mark ${className}`, text);
  made.title = title;
  return made;
}
