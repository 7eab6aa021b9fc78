// The problems of a log: a line above it with their number and the first error, which opens to a list.

import { plainText } from "../shared/ansi.js";
import { byId, element, setText } from "../shared/dom.js";
import { count, counted } from "../shared/format.js";

const SHOWN_MAX = 200;
const RANK = { error: 0, warning: 1, notice: 2 };

/** The list of problems above the log. */
export class Problems {
  constructor(page) {
    this.page = page;
    /** The lines of errors and of warnings, in order. */
    this.errors = [];
    this.warnings = [];
    this.levels = new Map();
    /** Whether the log has more problems than are known here. */
    this.truncated = false;
    this.box = byId("problems");
    this.box.addEventListener("keydown", (event) => this.key(event));
  }

  /** Shows the annotations of an outline. Returns whether they changed. */
  update({ annotations, errors, warnings, truncated }) {
    const key = JSON.stringify([annotations, errors, warnings]);
    if (key === this.drawn) return false;
    this.drawn = key;
    this.truncated = truncated;
    const linesOf = (level) => annotations.filter((one) => one.level === level).map((one) => one.n);
    this.errors = linesOf("error");
    this.warnings = linesOf("warning");
    this.levels = new Map(annotations.map((one) => [one.n, one.level]));
    const total = Math.max(errors + warnings, annotations.length);
    this.box.hidden = total === 0;
    const words = [errors > 0 && `✗ ${counted(errors, "error")}`, warnings > 0 && `⚠ ${counted(warnings, "warning")}`].filter(Boolean);
    setText(byId("problem-counts"), words.length > 0 ? words.join(" · ") : counted(total, "notice"));
    byId("problem-counts").className = errors > 0 ? "error" : "";
    const sorted = [...annotations].sort((a, b) => RANK[a.level] - RANK[b.level] || a.n - b.n);
    setText(byId("first-problem"), sorted.length > 0 ? plainText(sorted[0].message) : "");
    const rows = sorted.slice(0, SHOWN_MAX).map(problemRow);
    const hidden = total - rows.length;
    if (hidden > 0) rows.push(element("li", "rest", `and ${count(hidden)}${truncated ? "+" : ""} more: e goes to the next error`));
    byId("problem-list").replaceChildren(...rows);
    return true;
  }

  /** Opens the list and moves the focus into it, or closes it. */
  toggle() {
    if (this.box.hidden) return;
    this.box.open = !this.box.open;
    if (this.box.open) byId("problem-list").querySelector("a")?.focus();
    else this.page.viewport.focus({ preventScroll: true });
  }

  key(event) {
    if (event.key === "Escape" && this.box.open) {
      event.preventDefault();
      event.stopPropagation();
      this.toggle();
    }
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const links = [...byId("problem-list").querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    if (at < 0) return;
    event.preventDefault();
    event.stopPropagation();
    links[Math.min(links.length - 1, Math.max(0, at + step))].focus();
  }

  /** Returns the first error after line n, or null. */
  nextError(n) {
    return this.errors.find((line) => line > n) ?? null;
  }

  /** Returns the last error before line n, or null. */
  previousError(n) {
    return this.errors.findLast((line) => line < n) ?? null;
  }
}

function problemRow({ n, level, message, file, file_line: line, column }) {
  const row = element("li", level);
  const link = element("a", "");
  link.href = `#L${n}`;
  const place = file ? plainText([file, line, column].filter((part) => part !== undefined && part !== null).join(":")) : "";
  const where = element("span", "where", place === "" ? `line ${count(n)}` : `${place} · line ${count(n)}`);
  where.title = place;
  link.append(element("span", "level", level), element("span", "what", plainText(message)), where);
  row.append(link);
  return row;
}
