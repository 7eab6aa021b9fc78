// One row of the log stream of a run as elements. Text of events only ever becomes text nodes.

import { plainText } from "../shared/ansi.js";
import { element } from "../shared/dom.js";
import { count } from "../shared/format.js";
import { kindOf } from "./events.js";
import { numberCell, RowBuilder } from "../shared/rows.js";

// A host's or a workload's name that is longer says no more.
const WHO_CHARS_MAX = 80;

export class EventRowBuilder extends RowBuilder {
  constructor() {
    super();
    this.timeMode = "clock";
  }

  /** The element of an item; `before` is the row above it, if known. */
  build(item, before) {
    return item.hole ? this.hole(item) : this.event(item, before);
  }

  event(item, before) {
    const row = element("div", `row event ${item.level}${item.failure ? " failure" : ""}`);
    row.dataset.n = item.n;
    row.append(numberCell(item.n));
    if (this.timeMode !== "off") row.append(this.timeCell(item, before));
    row.append(element("span", `level ${item.level} ${kindOf(item.mark)}`, wordOf(item)), element("span", "who", short(item.who)));
    const text = element("span", "text");
    if (item.times > 1) text.append(timesCell(item));
    // A row is one line; where the text had several, this is seen.
    this.fill(text, { n: item.n, line: item.text.replace(/\r?\n/g, "⏎") });
    if (item.error !== "") text.append(" ", element("span", "error-type", `[${short(item.error)}]`));
    row.append(text);
    return row;
  }
}

function timesCell(item) {
  const cell = element("span", "times", `×${count(item.times)}`);
  cell.title = `events ${count(item.n)} to ${count(item.last)} differ only in numbers; this is the newest (l shows all)`;
  return cell;
}

const wordOf = (item) => (item.mark === "" ? "" : `${item.mark} `) + plainText(item.word).slice(0, WHO_CHARS_MAX);

function short(text) {
  const plain = plainText(text);
  return plain.length > WHO_CHARS_MAX ? `${plain.slice(0, WHO_CHARS_MAX - 1)}…` : plain;
}
