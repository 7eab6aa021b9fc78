// The elements of the rows that a scroller draws, by row number.
//
// An element stays in the document as long as its row looks the same, so that a redraw ends no selection
// and does not move the focus.

// Classes that a page adds to rows after they are built.
const MARKS = ["marked", "current"];

/** The drawn rows of a log. */
export class DrawnRows {
  /** `build(item, above)` returns the element of an item below another one. */
  constructor(body, build) {
    this.body = body;
    this.build = build;
    /** The drawn rows as `{ element, item, above }`. */
    this.rows = new Map();
    this.former = new Set();
  }

  /** Reports whether rows may look different from what is drawn. */
  get stale() {
    return this.former.size > 0;
  }

  /** Notes that rows may look different from now on; they are compared when they are drawn next. */
  markStale() {
    this.former = new Set(this.rows.values());
  }

  /** Removes all rows. */
  clear() {
    for (const row of this.rows.values()) row.element.remove();
    this.rows.clear();
    this.former.clear();
  }

  /** Draws the items of a list; `before(n)` returns the item before number n, also one that is not drawn. */
  draw(list, before) {
    const kept = new Set(list.map(numberOf));
    for (const [n, row] of this.rows) {
      if (kept.has(n)) continue;
      row.element.remove();
      this.rows.delete(n);
    }
    let above = null;
    let last = null;
    for (const item of list) {
      const beside = last ?? before(numberOf(item) - 1);
      const element = this.elementFor(item, beside && !beside.hole ? beside : null);
      const place = above ? above.nextSibling : this.body.firstChild;
      if (element !== place) this.body.insertBefore(element, place);
      above = element;
      last = item;
    }
    this.former.clear();
  }

  elementFor(item, above) {
    const n = numberOf(item);
    const row = this.rows.get(n);
    if (row?.item.hole && item.hole) return row.element;
    // A row also depends on the line above it, which may have loaded later.
    if (row?.item === item && !this.former.has(row) && (row.above || !above)) return row.element;
    const built = this.build(item, above);
    const element = row && looksLike(row.element, built) ? row.element : built;
    if (row && row.element !== element) row.element.remove();
    this.rows.set(n, { element, item, above });
    return element;
  }
}

/** Returns the number of an item of a list: its own, or the first one of a hole. */
export const numberOf = (item) => (item.hole ? item.from : item.n);

function looksLike(drawn, built) {
  if (drawn === built) return true;
  for (const mark of MARKS) if (drawn.classList.contains(mark)) built.classList.add(mark);
  return drawn.isEqualNode(built);
}
