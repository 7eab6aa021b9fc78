// Virtual scrolling of a log of any length with rows of any height.
//
// The position is an anchor: the line at the top edge and how far it is scrolled out. The rows around
// it are in a pane that sticks to the viewport; the native scroll bar belongs to an empty sizer.
// If every row has the same height (no wrapping, no hidden channel, and a height that a browser can
// lay out), the bar and the anchor agree to the pixel ("exact"). Otherwise the bar shows the line
// number: small native moves shift the anchor by pixels, large ones jump, and the bar is corrected
// when the movement ends.

import { DrawnRows, numberOf } from "./drawnrows.js";

const SIZER_PX_MAX = 8_000_000;
const FOLLOW_MARGIN_ROWS = 8;
const SELECTED_ROWS_MAX = 2000;
const PASSES_MAX = 6;
// A long redraw has few rows for many lines; this bounds the lines that are loaded to fill a screen.
const BLOCK_LINES_MAX = 6000;

/** A virtual list of log rows. */
export class Scroller {
  /** `delegate`: build(item, before), requestHole(hole, upwards), followChanged(), drawn(rows). */
  constructor(viewport, store, delegate) {
    this.viewport = viewport;
    this.store = store;
    this.delegate = delegate;
    this.sizer = viewport.querySelector(".sizer");
    this.pane = viewport.querySelector(".pane");
    this.body = viewport.querySelector(".rows");
    this.anchor = { n: 1, offset: 0 };
    this.following = true;
    /** Whether every row has the same height and every number has a row. */
    this.uniform = true;
    /** Whether every number has a row. */
    this.uniformNumbers = true;
    this.drawn = new DrawnRows(this.body, (item, above) => delegate.build(item, above));
    this.rows = this.drawn.rows;
    this.list = [];
    this.barTop = 0;
    this.widest = 0;
    this.listen();
  }

  listen() {
    this.measureRow();
    new ResizeObserver(() => {
      this.measureRow();
      // The browser may have moved the bar to fit; that is no scrolling by the user.
      this.barTop = this.viewport.scrollTop;
      this.invalidate();
    }).observe(this.viewport);
    this.viewport.addEventListener("scroll", () => this.nativeScroll(), { passive: true });
    this.viewport.addEventListener("scrollend", () => this.scrollEnded());
    this.hasScrollEnd = "onscrollend" in this.viewport;
    this.viewport.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.viewport.addEventListener("pointerdown", () => (this.overruled = false), { passive: true });
  }

  measureRow() {
    this.height = this.viewport.clientHeight;
    this.rowHeight = parseFloat(getComputedStyle(this.body).lineHeight) || 18;
    this.pane.style.height = `${this.height}px`;
  }

  get exact() {
    const total = (this.store.last - this.store.first + 1) * this.rowHeight;
    return this.uniform && this.store.wideGaps === 0 && total <= SIZER_PX_MAX;
  }

  get rowsOnScreen() {
    return Math.ceil(this.height / this.rowHeight) + 1;
  }

  /** Schedules a redraw in the next frame; calls are coalesced. */
  invalidate() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  /** Redraws the rows in the next frame, after a change of their look. */
  rebuild() {
    this.drawn.markStale();
    this.invalidate();
  }

  reset() {
    this.anchor = { n: this.store.first, offset: 0 };
    this.widest = 0;
    this.body.style.minWidth = "";
    this.drawn.clear();
    this.follow(true);
  }

  /** Follows the end of the log, or stops that, by a command of the user. */
  follow(on) {
    if (on) this.overrule();
    this.setFollowing(on);
  }

  // The browser draws a turn of the wheel in many frames. A command that comes meanwhile ends that movement.
  overrule() {
    this.overruled = this.moving || this.wheeled;
  }

  setFollowing(on) {
    this.target = null;
    if (this.following !== on) {
      this.following = on;
      this.delegate.followChanged();
    }
    this.invalidate();
  }

  /** Scrolls line n into the upper third, unless it is on the screen already. */
  reveal(n) {
    this.overrule();
    this.setFollowing(false);
    const row = this.rows.get(n);
    const top = row ? row.element.offsetTop - this.shift : -1;
    if (!row || this.drawn.stale || row.item.hole || top < 0 || top > this.height - 3 * this.rowHeight) {
      // Rows that are still loading may turn out taller, so the target is held until they are loaded.
      this.target = n;
    }
    this.invalidate();
  }

  toStart() {
    this.overrule();
    this.showStart();
  }

  showStart() {
    this.setFollowing(false);
    this.anchor = { n: this.store.first, offset: 0 };
    this.invalidate();
  }

  moveBy(px) {
    if (px < 0 && this.following) {
      if (this.fits) return;
      this.setFollowing(false);
      // Scrolling up needs the rows above the screen.
      this.draw();
    }
    this.target = null;
    this.anchor.offset += px;
    this.movedDown = px > 0;
    this.invalidate();
  }

  moveByRows(rows) {
    this.overrule();
    this.moveBy(rows * this.rowHeight);
  }

  moveByPages(pages) {
    this.overrule();
    this.moveBy(Math.round(pages * (this.height - 2 * this.rowHeight)));
  }

  wheel(event) {
    if (event.ctrlKey || event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    if (event.deltaY < 0 && this.following && !this.fits) this.setFollowing(false);
    this.overruled = false;
    this.wheeled = this.exact && this.hasScrollEnd;
    // If the bar is not exact, native wheel scrolling would move by the wrong scale.
    if (this.exact) return;
    event.preventDefault();
    const unit = event.deltaMode === 1 ? this.rowHeight : event.deltaMode === 2 ? this.height : 1;
    this.moveBy(event.deltaY * unit);
  }

  /** Scrolls by a wheel event over an element that covers the log. */
  wheelOver(event) {
    this.wheel(event);
    if (!event.defaultPrevented) this.viewport.scrollTop += event.deltaY;
    event.preventDefault();
  }

  nativeScroll() {
    const top = this.viewport.scrollTop;
    const moved = top - this.barTop;
    if (Math.abs(moved) < 1) return;
    this.barTop = top;
    // The browser moved the bar to fit another height.
    if (this.viewport.clientHeight !== this.height) return;
    if (this.overruled) {
      this.invalidate();
      return;
    }
    const end = this.viewport.scrollHeight - this.viewport.clientHeight;
    this.moving = this.hasScrollEnd;
    this.target = null;
    if (top >= end - 1 && moved > 0) this.setFollowing(true);
    else if (this.exact) this.scrollExactly(top);
    else if (top <= 0) this.showStart();
    else if (Math.abs(moved) <= this.height) this.moveBy(moved);
    else {
      this.setFollowing(false);
      const reach = Math.max(1, this.store.last - this.store.first + 1 - this.rowsOnScreen);
      this.anchor = { n: this.store.first + Math.round((top / end) * reach), offset: 0 };
    }
    this.invalidate();
  }

  scrollExactly(top) {
    this.setFollowing(false);
    const index = Math.floor(top / this.rowHeight);
    this.anchor = { n: this.store.first + index, offset: top - index * this.rowHeight };
  }

  scrollEnded() {
    this.moving = false;
    this.wheeled = false;
    this.overruled = false;
    this.invalidate();
  }

  draw() {
    let y = 0;
    if (this.target) this.anchor = { n: this.target, offset: -Math.round(this.height / 3) };
    for (let pass = 0; pass < PASSES_MAX; pass += 1) {
      this.list = this.collect();
      this.drawn.draw(this.list, (n) => this.store.prev(n));
      this.bodyHeight = this.body.offsetHeight;
      if (this.following || this.list.length === 0) {
        y = Math.max(0, this.bodyHeight - this.height);
        break;
      }
      y = this.place();
      if (y >= 0 && y <= Math.max(0, this.bodyHeight - this.height)) break;
      const atStart = this.reaches("first");
      const atEnd = this.reaches("last");
      if (y < 0 && atStart) y = 0;
      else if (y > 0 && atEnd) y = this.clampToEnd();
      else if (!this.moveAnchorToEdge(y)) break;
      else continue;
      break;
    }
    y = Math.max(0, Math.min(y, Math.max(0, this.bodyHeight - this.height)));
    this.shift = y;
    this.body.style.transform = `translateY(${-y}px)`;
    this.fits = this.bodyHeight <= this.height && this.reaches("first") && this.reaches("last");
    this.updateAnchor(y);
    this.fitBar();
    this.movedDown = false;
    if (this.list.every((item) => !item.hole)) this.target = null;
    this.delegate.drawn(this.list);
  }

  clampToEnd() {
    if (this.movedDown) this.setFollowing(true);
    return Math.max(0, this.bodyHeight - this.height);
  }

  // Returns the top edge according to the anchor, in the pane's coordinates.
  place() {
    const { n, offset } = this.anchor;
    const item = this.list.find((one) => (one.to ?? numberOf(one)) >= n) ?? this.list[this.list.length - 1];
    const { element } = this.rows.get(numberOf(item));
    const inner = item.block && n > item.n ? element.querySelector(`.row[data-n="${n}"]`) : null;
    return (inner ?? element).offsetTop + offset;
  }

  moveAnchorToEdge(y) {
    const edge = y < 0 ? this.list[0] : this.list[this.list.length - 1];
    const n = numberOf(edge);
    const top = this.rows.get(n).element.offsetTop;
    if (n === this.anchor.n && this.list.length < 3) return false;
    this.anchor = { n, offset: y - top };
    return true;
  }

  updateAnchor(y) {
    let low = 0;
    let high = this.list.length - 1;
    if (high < 0) return;
    const topOf = (index) => this.rows.get(numberOf(this.list[index])).element.offsetTop;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (topOf(middle) <= y) low = middle;
      else high = middle - 1;
    }
    this.anchor = { n: numberOf(this.list[low]), offset: y - topOf(low) };
  }

  reaches(edge) {
    const { store, list } = this;
    if (list.length === 0) return true;
    if (edge === "first") {
      const before = numberOf(list[0]) - 1;
      return store.prev(before) === null;
    }
    const last = list[list.length - 1];
    return store.next((last.hole ? last.to : last.to ?? last.n) + 1) === null;
  }

  collect() {
    const { store, rowsOnScreen } = this;
    if (store.last < store.first) return [];
    if (this.following) return this.walk(store.last, rowsOnScreen + FOLLOW_MARGIN_ROWS, true).reverse();
    const wanted = Math.min(Math.max(this.anchor.n, store.first), store.last);
    // One item may stand for many numbers.
    const item = store.next(wanted);
    const from = item === null || item.hole ? wanted : Math.min(item.n, wanted);
    const selected = this.selectedRange();
    const up = this.walk(from - 1, rowsOnScreen + Math.ceil(Math.max(0, -this.anchor.offset) / this.rowHeight), true, selected?.first);
    const down = this.walk(from, 2 * rowsOnScreen, false, selected?.last);
    return [...up.reverse(), ...down];
  }

  // Collects `rows` items from n on, and further until number `until`.
  walk(n, rows, upwards, until) {
    const found = [];
    let at = n;
    let inBlocks = 0;
    while (found.length < rows || (until !== undefined && (upwards ? at >= until : at <= until))) {
      if (found.length > SELECTED_ROWS_MAX || inBlocks > BLOCK_LINES_MAX) break;
      const item = upwards ? this.store.prev(at) : this.store.next(at);
      if (item === null) break;
      if (item.hole) {
        this.delegate.requestHole(item, upwards);
        // The number of rows in a hole is known only if nothing is hidden.
        if (!this.uniformNumbers) {
          found.push({ hole: true, from: upwards ? item.to : item.from, to: upwards ? item.to : item.from });
          break;
        }
        this.placeholders(found, item, rows, upwards);
        at = upwards ? numberOf(found[found.length - 1]) - 1 : found[found.length - 1].to + 1;
        continue;
      }
      found.push(item);
      if (item.block) inBlocks += item.to - item.n;
      at = upwards ? item.n - 1 : (item.to ?? item.n) + 1;
    }
    return found;
  }

  placeholders(found, hole, rows, upwards) {
    const wanted = Math.max(1, rows - found.length);
    const number = Math.min(wanted, hole.to - hole.from + 1);
    for (let i = 0; i < number; i += 1) {
      const n = upwards ? hole.to - i : hole.from + i;
      found.push({ hole: true, from: n, to: n });
    }
  }

  // Returns the rows where a selection starts and ends; removing them would break it.
  selectedRange() {
    const selection = document.getSelection();
    if (!selection || selection.isCollapsed) return null;
    const numbers = [selection.anchorNode, selection.focusNode]
      .map((node) => (node?.nodeType === Node.ELEMENT_NODE ? node : node?.parentElement)?.closest?.(".row[data-n]"))
      .filter((row) => row && this.body.contains(row))
      .map((row) => Number(row.dataset.n));
    return numbers.length === 0 ? null : { first: Math.min(...numbers), last: Math.max(...numbers) };
  }

  fitBar() {
    const { store } = this;
    const lines = Math.max(0, store.last - store.first + 1);
    const full = this.exact ? lines * this.rowHeight : Math.min(SIZER_PX_MAX, lines * this.rowHeight);
    const size = this.fits ? 0 : Math.max(full, this.height + this.rowHeight);
    if (size !== this.size) {
      this.size = size;
      this.sizer.style.height = `${size}px`;
    }
    const width = this.body.offsetWidth;
    if (this.uniform && width > this.widest) {
      this.widest = width;
      this.body.style.minWidth = `${width}px`;
    }
    if (!this.moving || this.following || this.exact) this.setBar(this.idealTop(lines));
  }

  idealTop(lines) {
    const end = this.viewport.scrollHeight - this.viewport.clientHeight;
    if (this.following) return end;
    const index = this.anchor.n - this.store.first;
    if (this.exact) return Math.min(end, index * this.rowHeight + this.anchor.offset);
    if (index <= 0 && this.anchor.offset <= 0) return 0;
    const reach = Math.max(1, lines - this.rowsOnScreen);
    // Slightly off both ends, so that the bar can still be moved in both directions.
    return Math.max(2, Math.min(end - 2, (index / reach) * end));
  }

  setBar(top) {
    if (Math.abs(this.viewport.scrollTop - top) >= 1) this.viewport.scrollTop = top;
    this.barTop = this.viewport.scrollTop;
  }
}
