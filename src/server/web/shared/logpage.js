// What the pages of a task and of a run have in common: a log in a scroller that is followed or
// read, whose rows have numbers that can be linked, marked and gone to.

import { byId } from "./dom.js";
import { counted } from "./format.js";
import { linkOf, parseLink, stretch } from "./links.js";

// What comes while somebody reads further up is kept this far, then only counted.
export const KEPT_BEYOND_LINES = 2000;

export class LogPage {
  /** `noun` is what one row is. The one who extends this sets `scroller` and has `drawn()`. */
  constructor(id, store, noun) {
    this.id = id;
    this.store = store;
    this.noun = noun;
    this.unread = 0;
    this.current = null;
    this.marked = null;
    this.keepUpto = 0;
    this.wrapped = false;
    this.viewport = byId("log");
  }

  /** Nothing more will come. */
  get over() {
    return false;
  }

  followChanged() {
    const { following } = this.scroller;
    byId("follow").setAttribute("aria-pressed", String(following));
    document.documentElement.dataset.following = String(following);
    if (following) this.unread = 0;
    else this.keepUpto = this.store.last + KEPT_BEYOND_LINES;
  }

  toggleWrap() {
    this.wrapped = !this.wrapped;
    this.viewport.classList.toggle("wrap", this.wrapped);
    byId("wrap").setAttribute("aria-pressed", String(this.wrapped));
    this.numbersHaveRows(this.scroller.uniformNumbers);
    this.scroller.invalidate();
  }

  /** Whether every number has a row; the scroll bar is exact only then, and without wrapping. */
  numbersHaveRows(all) {
    this.scroller.uniformNumbers = all;
    this.scroller.uniform = all && !this.wrapped;
  }

  /** Goes to a row and makes it the one that the next search starts from. */
  goTo(n) {
    if (n === null) return;
    this.current = n;
    this.scroller.reveal(n);
  }

  /** The row that `n` and `e` start from: where they went last, if that is still on the screen. */
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
    // Replaced, not pushed: clicking about must not fill the way back.
    history.replaceState(null, "", linkOf(this.marked));
    this.scroller.follow(false);
    this.drawMarks();
  }

  goToLink() {
    this.marked = parseLink(location.hash);
    if (this.marked) {
      this.linkFrom = this.marked.first;
      this.current = this.marked.first;
      this.scroller.reveal(this.marked.first);
    }
    this.scroller.invalidate();
  }

  dropMarks() {
    this.marked = null;
    this.current = null;
    history.replaceState(null, "", location.pathname + location.search);
    this.drawMarks();
  }

  drawMarks() {
    const { marked } = this;
    for (const [n, { element, item }] of this.scroller.rows) {
      const last = item.last ?? n;
      element.classList.toggle("marked", marked !== null && last >= marked.first && n <= marked.last);
      element.classList.toggle("current", n === this.current);
    }
  }

  drawPill() {
    const pill = byId("pill");
    pill.hidden = this.scroller.following || this.scroller.fits === true && this.unread === 0 || this.store.last === 0;
    const words = this.unread > 0 ? `↓ ${counted(this.unread, `new ${this.noun}`)} · follow` : this.over ? "↓ end" : "↓ follow";
    pill.classList.toggle("fresh", this.unread > 0);
    if (pill.textContent !== words) pill.textContent = words;
  }
}
