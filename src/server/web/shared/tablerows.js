// The rows of a long table: only those on the screen and a margin are elements; space above and below stands for
// the others, so the scroll bar of the page is right.

const MARGIN_ROWS = 30;
const ROW_PX = 34;

/** A table body with rows of one height. */
export class TableRows {
  /** `source`: make(item) -> row with an `element`, fill(row) from `row.item`. `nearEnd()` is called close to the last row. */
  constructor(table, source, nearEnd) {
    this.table = table;
    this.source = source;
    this.nearEnd = nearEnd;
    this.body = table.tBodies[0];
    this.items = [];
    this.rows = new Map();
    this.rowPx = ROW_PX;
    this.above = space(table, this.body);
    this.below = space(table, null);
    addEventListener("scroll", () => this.invalidate(), { passive: true });
    addEventListener("resize", () => this.invalidate());
  }

  /** Shows these items. */
  show(items) {
    this.items = items;
    this.table.setAttribute("aria-rowcount", String(items.length + 1));
    this.draw();
  }

  invalidate() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const { items, rowPx } = this;
    const top = this.table.getBoundingClientRect().top + this.table.tHead.offsetHeight;
    const first = Math.max(0, Math.min(items.length, Math.floor(-top / rowPx) - MARGIN_ROWS));
    const last = Math.min(items.length, Math.ceil((innerHeight - top) / rowPx) + MARGIN_ROWS);
    this.drawRange(first, Math.max(first, last));
    setHeight(this.above, first * rowPx);
    setHeight(this.below, Math.max(0, items.length - last) * rowPx);
    const [row] = this.body.rows;
    if (row && row.offsetHeight > 0) this.rowPx = row.getBoundingClientRect().height;
    if (last >= items.length) this.nearEnd();
  }

  drawRange(first, last) {
    const shown = this.items.slice(first, last);
    const kept = new Set(shown.map((item) => item.id));
    for (const [id, row] of this.rows) {
      if (kept.has(id)) continue;
      row.element.remove();
      this.rows.delete(id);
    }
    let above = null;
    shown.forEach((item, index) => {
      const element = this.rowFor(item);
      element.setAttribute("aria-rowindex", String(first + index + 2));
      const place = above ? above.nextSibling : this.body.firstChild;
      if (element !== place) this.body.insertBefore(element, place);
      above = element;
    });
  }

  rowFor(item) {
    let row = this.rows.get(item.id);
    if (!row) {
      row = this.source.make(item);
      this.rows.set(item.id, row);
    }
    row.item = item;
    this.source.fill(row);
    return row.element;
  }

  /** Calls `tick(row)` for each row that is drawn. */
  each(tick) {
    for (const row of this.rows.values()) tick(row);
  }

  /** Moves the focus to the next or the previous row. */
  step(by) {
    const links = [...this.body.querySelectorAll("td.id a")];
    const at = links.indexOf(document.activeElement);
    const visible = links.findIndex((link) => link.getBoundingClientRect().top >= this.table.tHead.getBoundingClientRect().bottom);
    const next = at < 0 ? visible : at + by;
    links[Math.min(links.length - 1, Math.max(0, next))]?.focus();
  }
}

function space(table, before) {
  const body = document.createElement("tbody");
  body.className = "space";
  table.insertBefore(body, before);
  return body;
}

function setHeight(body, px) {
  if (px === 0) {
    body.replaceChildren();
    return;
  }
  if (body.rows.length === 0) {
    const row = body.insertRow();
    row.className = "space";
    row.setAttribute("aria-hidden", "true");
    row.insertCell().colSpan = 100;
  }
  body.rows[0].cells[0].style.height = `${px}px`;
}
