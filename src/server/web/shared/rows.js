// One row of the log as elements. Log text only ever becomes text nodes.

import { parseLine } from "./ansi.js";
import { element } from "./dom.js";
import { clock, count, delta, gapWords, span } from "./format.js";

// Nobody reads more of one line at a glance, and laying out 64 KiB in each row would stutter.
const SHOWN_CHARS_MAX = 4000;
const MARK = /^\[(\d+) (messages skipped|messages lost in transit|lines over the limit of [^\]]+)\]$/;

export const TIME_MODES = ["off", "clock", "start", "delta"];

/** The gap that an `internal` line stands for, or null. */
export function markGap(line) {
  if (line.stream !== "internal") return null;
  const match = MARK.exec(line.line);
  if (!match) return null;
  const reason = { "messages skipped": "skipped", "messages lost in transit": "lost_in_transit" }[match[2]] ?? "quota";
  return { from: line.n, to: line.n, reason, count: Number(match[1]), marked: true };
}

export class RowBuilder {
  constructor() {
    this.timeMode = "off";
    this.startMs = null;
    this.expanded = new Set();
  }

  /** The element of an item of the store; `before` is the line shown above it, if known. */
  build(item, before) {
    if (item.hole) return this.hole(item);
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
    const goesOn = before && !before.gap && before.partial && before.n === line.n - 1;
    if (line.partial) row.classList.add("partial");
    if (goesOn) row.classList.add("goes-on");
    row.append(numberCell(line.n));
    if (this.timeMode !== "off") row.append(this.timeCell(line, before));
    const text = element("span", "text");
    this.fill(text, line);
    row.append(text);
    if (line.partial) row.append(mark("cut", "⋯", "cut here: the line goes on in the next row"));
    if (line.lossy) row.append(mark("lossy", "�", "bytes that were not UTF-8 were replaced"));
    return row;
  }

  fill(cell, line) {
    const { spans, hidden } = clipped(line.line, this.expanded.has(line.n) ? Infinity : SHOWN_CHARS_MAX);
    for (const part of spans) cell.append(styled(part));
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

// The first `charsMax` characters that a person would see, and how many are hidden. What rewrites
// itself is read to its end, or a long progress bar would show its beginning.
function clipped(text, charsMax) {
  const early = text.length > charsMax && !/[\r\b]/.test(text);
  const spans = [];
  let room = charsMax;
  let hidden = early ? text.length - charsMax : 0;
  for (const span of parseLine(early ? text.slice(0, charsMax) : text)) {
    if (room > 0) spans.push(span.text.length > room ? { ...span, text: span.text.slice(0, room) } : span);
    hidden += Math.max(0, span.text.length - room);
    room = Math.max(0, room - span.text.length);
  }
  return { spans, hidden };
}

/** The number of a row, which links it. */
export function numberCell(n) {
  const cell = element("a", "num");
  cell.href = `#L${n}`;
  cell.tabIndex = -1;
  // Drawn by CSS from this, so that copying or finding text never takes numbers along.
  cell.dataset.n = n;
  cell.setAttribute("aria-label", `line ${n}`);
  return cell;
}

function gapRow(gap, n) {
  const row = element("div", `row gap ${gap.reason}`);
  row.dataset.n = n;
  row.append(element("span", "ruler", gapWords(gap)));
  return row;
}

function mark(className, text, title) {
  const made = element("span", `mark ${className}`, text);
  made.title = title;
  return made;
}

const FLAGS = { bold: "b", dim: "d", italic: "i", underline: "u", strike: "s", control: "control" };

function styled({ text, style }) {
  const classes = [];
  for (const flag in FLAGS) if (style[flag]) classes.push(FLAGS[flag]);
  let { fg, bg } = style;
  if (style.reverse) {
    classes.push("reverse");
    [fg, bg] = [bg, fg];
  }
  if (typeof fg === "number") classes.push(`fg${fg}`);
  if (typeof bg === "number") classes.push(`bg${bg}`);
  const free = typeof fg === "string" || typeof bg === "string";
  if (classes.length === 0 && !free) return document.createTextNode(text);
  const made = element("span", classes.join(" "), text);
  if (typeof fg === "string") made.style.color = fg;
  if (typeof bg === "string") made.style.backgroundColor = bg;
  return made;
}
