// Fills holes of the store from the lines route: one request upwards and one downwards at a time.

import { fetchLines } from "../shared/api.js";

const PAGE_LINES = 500;
const SPARSE_PAGE_LINES = 1000;
const REACH_MAX = 1 << 20;
const RETRY_MS = 1500;

export class Loader {
  /** `channels()` gives the `stream=` words, or null when every channel is shown. */
  constructor(id, store, channels, onChange) {
    this.id = id;
    this.store = store;
    this.channels = channels;
    this.onChange = onChange;
    this.busy = new Map();
    this.reach = SPARSE_PAGE_LINES;
    this.generation = 0;
  }

  /** Drops what is on its way: the log or the channels are others now. */
  restart() {
    this.generation += 1;
    for (const abort of this.busy.values()) abort.abort();
    this.busy.clear();
    this.reach = SPARSE_PAGE_LINES;
  }

  /** Somebody looks at a hole: downwards from its beginning, or upwards from its end. */
  want(hole, upwards) {
    const key = upwards ? "up" : "down";
    if (this.busy.has(key)) return;
    const abort = new AbortController();
    this.busy.set(key, abort);
    this.load(hole, upwards, abort.signal, this.generation)
      .then(() => 0, (error) => (error.name === "AbortError" ? 0 : RETRY_MS))
      .then((pause) => {
        const done = () => {
          if (this.busy.get(key) === abort) this.busy.delete(key);
          this.onChange();
        };
        if (pause > 0) setTimeout(done, pause);
        else done();
      });
  }

  async load(hole, upwards, signal, generation) {
    const stream = this.channels();
    const page = stream === null ? PAGE_LINES : SPARSE_PAGE_LINES;
    const reach = stream === null ? PAGE_LINES : this.reach;
    const from = upwards ? Math.max(hole.from, hole.to - reach + 1) : hole.from;
    const limit = stream === null ? Math.min(page, hole.to - from + 1) : page;
    const answer = await fetchLines(this.id, { from, limit, stream }, signal);
    if (generation !== this.generation) return;
    // Few lines of the wanted channels in this stretch: look further next time.
    if (stream !== null && upwards) this.reach = answer.lines.length < limit / 4 ? Math.min(REACH_MAX, reach * 4) : SPARSE_PAGE_LINES;
    this.take(answer, from, hole.to, stream !== null);
  }

  take(answer, from, holeEnd, sparse) {
    const gaps = (answer.gaps ?? []).filter(isWide).map(gapItem);
    const items = [...answer.lines, ...gaps].sort((a, b) => a.n - b.n);
    const lastItem = items[items.length - 1];
    const reached = lastItem ? lastItem.to ?? lastItem.n : from - 1;
    // A filter looks at many more lines than it gives.
    const covered = sparse ? Math.max(reached, answer.next_line - 1) : reached;
    const to = Math.min(covered, holeEnd);
    if (to < from) throw new Error("the server has no lines there yet");
    this.store.put(from, to, items.filter((item) => (item.to ?? item.n) >= from && item.n <= to));
  }
}

/** Whether a gap names numbers that cannot be read, rather than a line that says so itself. */
export const isWide = (gap) => gap.marked !== true;

export const gapItem = (gap) => ({ gap: true, n: gap.from, to: gap.to, from: gap.from, reason: gap.reason, count: gap.count });
