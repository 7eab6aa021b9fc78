// Builds the rows of sections: the first line with a fold button, or one row in place of a folded section.

import { plainText } from "../shared/ansi.js";
import { element } from "../shared/dom.js";
import { count, counted, duration } from "../shared/format.js";
import { numberCell } from "../shared/rows.js";


/** Returns the facts of a section beside its title: how long it took, its errors, its lines if it is folded. */
export function factsOf(section, folded, now) {
  const facts = [];
  const started = Date.parse(section.started ?? "");
  const ended = section.open ? now : Date.parse(section.ended ?? "");
  if (ended - started >= 1000) facts.push(duration(ended - started));
  if (section.open) facts.push("running");
  if (section.errors > 0) facts.push(counted(section.errors, "error"));
  if (folded) facts.push(counted(section.to - section.from, "line"));
  return facts.join(" · ");
}

// A line that only ends a section.
const END = /^(?:::endgroup::|##\[endgroup\])\s*$/;

/** The looks of rows that an outline knows something about. */
export class OutlineRows {
  constructor(builder, view, problems) {
    Object.assign(this, { builder, view, problems });
  }

  /** Returns the row of a folded section. */
  folded({ section, n }) {
    const row = element("div", "row section folded");
    row.dataset.n = n;
    row.append(numberCell(n));
    if (this.builder.timeMode !== "off") row.append(this.builder.timeCell({ timestamp: section.started ?? "" }, null));
    row.append(...sectionCells(section, true));
    return row;
  }

  /** Adds to the row of line n what is known about the line. */
  decorate(row, n) {
    const level = this.problems.levels.get(n);
    if (level !== undefined) row.classList.add("annotated", level);
    const section = this.view.headAt(n);
    if (section === null && END.test(row.querySelector(".text").textContent)) row.classList.add("section-end");
    if (section === null) return;
    row.classList.add("section");
    row.querySelector(".text").replaceWith(...sectionCells(section, false));
  }
}

// Returns the fold button and the title of a section, to replace the text of its first line.
function sectionCells(section, folded) {
  const button = element("button", "section-fold", folded ? "▸" : "▾");
  button.type = "button";
  button.dataset.n = section.from;
  button.setAttribute("aria-expanded", String(!folded));
  button.setAttribute("aria-label", `${folded ? "Unfold" : "Fold"} section ${plainText(section.title)}`);
  button.title = `${folded ? "Unfold" : "Fold"} this section (o)${section.to === null ? "" : `: lines ${count(section.from)} to ${count(section.to)}`}`;
  button.disabled = section.to === null;
  const title = element("span", "text", plainText(section.title));
  const facts = element("span", "section-facts", factsOf(section, folded, Date.now()));
  if (section.errors > 0) facts.classList.add("bad");
  return [button, title, facts];
}
