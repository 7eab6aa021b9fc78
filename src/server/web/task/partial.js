// The current unterminated line of each channel: a provisional row below the log. It has no number, is
// replaced by the finished line, and is neither counted, searched nor copied.

import { element } from "../shared/dom.js";
import { fillText } from "../shared/rows.js";

/** The provisional rows at the end of the log. */
export class PartialRows {
  /** `body` is the element of the rows, `isShown(stream)` reports whether a channel is shown. */
  constructor(body, isShown) {
    this.isShown = isShown;
    this.lines = new Map();
    this.atEnd = true;
    this.element = element("div", "provisional");
    // A screen reader would read every state of a progress bar.
    this.element.setAttribute("aria-hidden", "true");
    this.element.hidden = true;
    body.append(this.element);
  }

  /** Replaces the line of a channel; an empty one is removed. */
  set(line) {
    if (line.line === "") this.lines.delete(line.stream);
    else this.lines.set(line.stream, line);
    this.draw();
  }

  /** Removes all lines: finished ones take their place. */
  clear() {
    if (this.lines.size === 0) return;
    this.lines.clear();
    this.draw();
  }

  /** Shows the rows only below the last line. Returns whether this changed the height of the log. */
  setAtEnd(atEnd) {
    this.atEnd = atEnd;
    return this.show();
  }

  draw() {
    const rows = [...this.lines.values()].filter((line) => this.isShown(line.stream)).map((line) => {
      const row = element("div", `row ${line.stream}`);
      const text = element("span", "text");
      fillText(text, line.line);
      row.append(element("span", "num"), text);
      return row;
    });
    this.element.replaceChildren(...rows);
    this.show();
  }

  show() {
    const hidden = !this.atEnd || this.element.childElementCount === 0;
    if (hidden === this.element.hidden) return false;
    this.element.hidden = hidden;
    return true;
  }
}
