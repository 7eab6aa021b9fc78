// The common part of the task page and the run page: a log in a scroller, with numbered rows that
// can be linked, marked and revealed.

import { byId } from "./dom.js";
import { counted } from "./format.js";
import { linkOf, parseLink, stretch } from "./links.js";

// While the user reads further up, at most this many new lines are stored; more are only counted.
export const KEPT_BEYOND_LINES = 2000;

/** A page with a log. Subclasses set `scroller` and define `drawn()`. */
export class LogPage {
  /** `noun` names one row: "line" or "event". */
  constructor(id, store, noun) {
    this.id = id;
    this.store = store;
    this.noun = noun;
    this.unread = 0;
    this.current = null;
    this.marked = null;
    this.keepUntil = 0;
    this.wrapped = false;
    this.viewport = byId("log");
  }

  /** Reports whether the log is complete. */
  get ended() {
    return false;
  }

  followChanged() {
    const { following } = this.scroller;
    byId("follow").setAttribute("aria-pressed", String(following));
    document.documentElement.dataset.following = String(following);
    if (following) this.unread = 0;
    else this.keepUntil = this.store.last + KEPT_BEYOND_LINES;
  }

  toggleWrap() {
    this.wrapped = !this.wrapped;
    this.viewport.classList.toggle("wrap", this.wrapped);
    byId("wrap").setAttribute("aria-pressed", String(this.wrapped));
    this.setAllNumbersShown(this.scroller.uniformNumbers);
    this.scroller.invalidate();
  }

  /** Sets whether every number has a row. Only then, and without wrapping, is the scroll bar exact. */
  setAllNumbersShown(all) {
    this.scroller.uniformNumbers = all;
    this.scroller.uniform = all && !this.wrapped;
  }

  /** Reveals a row and makes it the start of the next search. */
  goTo(n) {
    if (n === null) return;
    this.current = n;
    this.view?.want(n);
    this.scroller.reveal(n);
  }

  /** Returns the row where `n` and `e` start: the current row if it is on the screen, else the top row. */
  here() {
    const { list, following, anchor, rows, shift, height } = this.scroller;
    const row = this.current === null ? null : rows.get(this.current);
    const top = row ? row.element.offsetTop - shift : -1;
    if (top >= 0 && top < height) return this.current;
    return following || list.length === 0 ? this.store.last + 1 : anchor.n;
  }

  clickNumber(n, extend) {
    this.linkFrom = extend ? this.linkFrom ?? this.marked?.first : n;
    this.marked = extend ? stretch(this.linkFrom, n) : { first: n, last: n };
    // Replaced, not pushed: clicks must not fill the browser's history.
    history.replaceState(null, "", linkOf(this.marked));
    this.scroller.follow(false);
    this.drawMarks();
  }

  goToLink() {
    this.marked = parseLink(location.hash);
    if (this.marked) {
      this.linkFrom = this.marked.first;
      this.current = this.marked.first;
      this.view?.want(this.marked.first);
      this.scroller.reveal(this.marked.first);
    }
    this.scroller.invalidate();
  }

  clearMarks() {
    this.marked = null;
    this.current = null;
    history.replaceState(null, "", location.pathname + location.search);
    this.drawMarks();
  }

  drawMarks() {
    for (const [n, { element, item }] of this.scroller.rows) {
      if (!item.block) this.drawMark(element, n, item.last ?? n);
      else for (const row of element.querySelectorAll(".row[data-n]")) this.drawMark(row, Number(row.dataset.n), Number(row.dataset.n));
    }
  }

  drawMark(element, first, last) {
    const { marked } = this;
    element.classList.toggle("marked", marked !== null && last >= marked.first && first <= marked.last);
    element.classList.toggle("current", first === this.current);
  }

  drawPill() {
    const pill = byId("pill");
    pill.hidden = this.scroller.following || this.scroller.fits === true && this.unread === 0 || this.store.last === 0;
    const text = this.unread > 0 ? `↓ ${counted(this.unread, `new ${this.noun}`)} · follow` : this.ended ? "↓ end" : "↓ follow";
    pill.classList.toggle("fresh", this.unread > 0);
    if (pill.textContent !== text) pill.textContent = text;
  }
}
