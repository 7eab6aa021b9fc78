// Sections of the log: `::group::` and the like. A folded section is one row.
//
// A view over the lines, with the interface of a store: `next` and `prev` return a folded section as one
// item `{ section, n, to }`. A section without errors is folded when it has ended; a choice of the reader, a
// link or a search hit inside of it overrides that.

const WANTED_MAX = 1000;

/** The lines of a log, where folded sections are one item each. */
export class SectionView {
  constructor(view) {
    this.view = view;
    this.sections = [];
    /** The outermost folded sections, as items in order. */
    this.folded = [];
    this.choices = new Map();
    this.wanted = new Set();
    this.heads = new Map();
    /** Whether sections are shown unfolded for now. */
    this.paused = false;
    this.key = this.look();
  }

  get first() {
    return this.view.first;
  }

  get last() {
    return this.view.last;
  }

  get wideGaps() {
    return this.view.wideGaps + (this.folded.length > 0 ? 1 : 0);
  }

  next(n) {
    const fold = this.foldFrom(n);
    if (fold && fold.n <= n) return fold;
    const item = this.view.next(n);
    if (!fold) return item;
    if (item === null) return fold.n <= this.last ? fold : null;
    if (startOf(item) >= fold.n) return fold;
    return item.hole && item.to >= fold.n ? { hole: true, from: item.from, to: fold.n - 1 } : item;
  }

  prev(n) {
    const fold = this.foldUpTo(n);
    if (fold && fold.to >= n) return fold;
    const item = this.view.prev(n);
    if (!fold) return item;
    if (item === null || endOf(item) <= fold.to) return fold;
    return item.hole && item.from <= fold.to ? { hole: true, from: fold.to + 1, to: item.to } : item;
  }

  // Returns the first folded section that ends at n or later.
  foldFrom(n) {
    let low = 0;
    let high = this.folded.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.folded[middle].to < n) low = middle + 1;
      else high = middle;
    }
    return this.folded[low] ?? null;
  }

  // Returns the last folded section that starts at n or earlier.
  foldUpTo(n) {
    let low = 0;
    let high = this.folded.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.folded[middle].n <= n) low = middle + 1;
      else high = middle;
    }
    return this.folded[low - 1] ?? null;
  }

  /**
   * Takes over the sections of an outline; `visible` are the lines on the screen, if they are being read, and `failed`
   * whether the task ended badly. Returns whether rows change.
   */
  update(sections, { visible = null, failed = false } = {}) {
    const before = this.key;
    for (const section of sections) {
      const known = this.heads.get(section.from);
      const justEnded = known?.open === true && !section.open;
      // A section that ends while it is read stays open.
      if (justEnded && visible && section.from <= visible.last && section.to >= visible.first) this.choices.set(section.from, false);
    }
    this.failed = failed;
    this.sections = sections;
    this.heads = new Map(sections.map((section) => [section.from, section]));
    this.fold();
    this.key = this.look();
    return this.key !== before;
  }

  look() {
    return JSON.stringify([this.sections, this.folded.map((item) => item.n)]);
  }

  fold() {
    const kept = new Map(this.folded.map((item) => [item.n, item]));
    this.folded = [];
    let end = 0;
    for (const section of this.paused ? [] : this.sections) {
      if (section.from <= end || !this.isFolded(section)) continue;
      end = section.to;
      const same = kept.get(section.from);
      this.folded.push(same?.section === section && same.to === end ? same : { section, n: section.from, to: end });
    }
  }

  /** Reports whether a section is folded. */
  isFolded(section) {
    if (section.to === null || section.to <= section.from) return false;
    const choice = this.choices.get(section.from);
    if (choice !== undefined) return choice;
    if (section.open || section.errors > 0) return false;
    // The cause of a failure that is no known kind of error is in the last section, most often.
    if (this.failed && section === this.sections.at(-1)) return false;
    for (const n of this.wanted) if (n > section.from && n <= section.to) return false;
    return true;
  }

  /** Returns the section that starts at line n, or null. */
  headAt(n) {
    return this.heads.get(n) ?? null;
  }

  /** Returns the innermost section with line n, or null. */
  around(n) {
    return this.sections.findLast((section) => section.from <= n && n <= (section.to ?? this.last)) ?? null;
  }

  /** Folds or unfolds the section that starts at a line. */
  toggle(from) {
    const section = this.heads.get(from);
    if (!section) return;
    this.choices.set(from, !this.isFolded(section));
    this.fold();
  }

  /** Unfolds all sections, or folds all that have ended. */
  toggleAll() {
    const folded = this.folded.length === 0;
    for (const section of this.sections) this.choices.set(section.from, folded);
    this.fold();
  }

  /** Makes sure that line n is visible. */
  want(n) {
    this.wanted.delete(n);
    this.wanted.add(n);
    if (this.wanted.size > WANTED_MAX) this.wanted.delete(this.wanted.values().next().value);
    for (const section of this.sections) if (section.from < n && n <= (section.to ?? 0)) this.choices.set(section.from, false);
    this.fold();
    this.view.want(n);
  }

  /** Shows all lines, or folds sections again. */
  pause(paused) {
    this.paused = paused;
    this.fold();
  }
}

const startOf = (item) => (item.hole ? item.from : item.n);
const endOf = (item) => item.to ?? item.n;
