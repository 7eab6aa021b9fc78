// The events of a run that this page holds, and the rows it makes of them.
//
// ```
// stream, events route ──> raw (events, the newest first to stay) ──> rows (filtered, look-alikes joined)
// ```
// Both are stores by event number. What is not in `raw` is asked for when somebody looks at it; the
// rows are made anew out of `raw` when the filter or the mode is another.

import { fetchEvents } from "../shared/api.js";
import { collapse, itemOf, joined, matches, placeOf, shapeOf } from "./events.js";
import { Store } from "../shared/store.js";

export const EVENTS_MAX = 50_000;
const EVENT_CHARS_MAX = 32 * 1024 * 1024;
const PAGE_EVENTS = 500;
// What is asked for at once where most of it may not be shown.
const SPARSE_PAGE_EVENTS = 5000;
const RETRY_MS = 1500;
const FAILURE_STEPS_MAX = 60;
const LEAP_FAILURES_MAX = 1024;

export class RunLog {
  /** `onChange` is called when there are rows where none were. */
  constructor(id, onChange) {
    this.id = id;
    this.onChange = onChange;
    this.raw = new Store(EVENTS_MAX, EVENT_CHARS_MAX);
    this.rows = new Store(EVENTS_MAX, EVENT_CHARS_MAX);
    this.summary = true;
    this.failuresOnly = false;
    this.words = [];
    this.busy = new Map();
    this.generation = 0;
  }

  /** Every event has a row of its own. */
  get showsAll() {
    return !this.summary && !this.filtered;
  }

  get filtered() {
    return this.failuresOnly || this.words.length > 0;
  }

  /** Other rows of the same events: `{ summary, failuresOnly, words }`. */
  show(changes) {
    Object.assign(this, changes);
    this.drop();
    this.rows.forgetLines();
  }

  clear() {
    this.drop();
    this.raw.clear();
    this.rows.clear();
  }

  drop() {
    this.generation += 1;
    for (const abort of this.busy.values()) abort.abort();
    this.busy.clear();
  }

  wanted(item) {
    return (!this.failuresOnly || item.failure) && matches(item, this.words);
  }

  /** The next live event; `from` is the first number that nothing else stands at. Says if it is shown. */
  append(item, from, visible) {
    const { raw, rows } = this;
    if (from < item.n) raw.put(from, item.n - 1, []);
    raw.append(item.n, item);
    const wanted = this.wanted(item);
    if (!visible) {
      rows.grow(item.n);
      return wanted;
    }
    const above = rows.tail;
    if (from < item.n) {
      rows.grow(item.n - 1);
      rows.put(from, item.n - 1, []);
    }
    if (wanted && this.summary && above !== null && shapeOf(item) !== null && shapeOf(item) === shapeOf(above)) {
      rows.append(item.n, null);
      rows.replace(above.n, joined(above, item));
    } else {
      rows.append(item.n, wanted ? item : null);
    }
    return wanted;
  }

  /** Notes that there are events up to n without having them. */
  grow(n) {
    this.raw.grow(n);
    this.rows.grow(n);
  }

  /** Somebody looks at a hole of the rows: downwards from its beginning, or upwards from its end. */
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
    // Not while the one who asked walks through the rows.
    await null;
    const known = this.known(hole, upwards);
    const { from, to, items } = known ?? await this.fetch(hole, upwards, signal);
    if (generation !== this.generation) return;
    if (!known && !this.filtered) this.raw.put(from, to, items);
    this.put(from, to, items);
  }

  // What is held of a hole's edge, or null.
  known(hole, upwards) {
    const { raw } = this;
    const items = [];
    let at = upwards ? hole.to : hole.from;
    while (items.length < SPARSE_PAGE_EVENTS && at >= hole.from && at <= hole.to) {
      const item = upwards ? raw.prev(at) : raw.next(at);
      if (item === null) at = upwards ? hole.from - 1 : hole.to + 1;
      else if (item.hole) break;
      else {
        if (item.n >= hole.from && item.n <= hole.to) items.push(item);
        at = upwards ? item.n - 1 : item.n + 1;
      }
    }
    // Numbers that are known to have no event count as held too, so `at` tells how far it reaches.
    const edge = upwards ? at + 1 : at - 1;
    const from = upwards ? Math.max(hole.from, this.coveredFrom(edge)) : hole.from;
    const to = upwards ? hole.to : Math.min(hole.to, edge);
    return to < from ? null : { from, to, items: upwards ? items.reverse() : items };
  }

  // Numbers right before `n` that are held without an event belong to what stands at `n`.
  coveredFrom(n) {
    const before = this.raw.prev(n - 1);
    return before === null ? this.raw.first : (before.to ?? before.n) + 1;
  }

  async fetch(hole, upwards, signal) {
    const size = this.showsAll ? PAGE_EVENTS : SPARSE_PAGE_EVENTS;
    const from = upwards ? Math.max(hole.from, hole.to - size + 1) : hole.from;
    const answer = await fetchEvents(this.id, { from, limit: Math.min(size, hole.to - from + 1) }, signal);
    const reached = Math.max(placeOf(answer.cursor) ?? 0, from + answer.events.length - 1);
    const to = Math.min(reached, hole.to);
    if (to < from) throw new Error("the server has no events there yet");
    const items = answer.events.map((event, index) => itemOf(from + index, event)).filter((item) => item.n <= to);
    return { from, to, items };
  }

  put(from, to, items) {
    const { rows } = this;
    let made = items.filter((item) => this.wanted(item));
    if (this.summary && made.length > 0) {
      made = collapse(made);
      const below = to < rows.last ? rows.next(to + 1) : null;
      const above = from > rows.first ? rows.prev(from - 1) : null;
      if (alike(made[made.length - 1], below)) {
        made.push(joined(made.pop(), below));
        rows.replace(below.n, null);
      }
      if (alike(above, made[0])) rows.replace(above.n, joined(above, made.shift()));
    }
    rows.put(from, to, made);
  }

  /** The first failure that is shown behind n, or null. */
  async nextFailure(n) {
    let at = n + 1;
    for (let asked = 0; at <= this.raw.last && asked < FAILURE_STEPS_MAX; ) {
      const item = this.raw.next(at);
      if (item === null) return null;
      if (!item.hole) {
        if (item.failure && this.wanted(item)) return item.n;
        at = item.n + 1;
        continue;
      }
      asked += 1;
      const found = await this.ask(at);
      if (found === null) return null;
      // What is held is looked at here, by its own numbers.
      if (found.n <= item.to && this.wanted(found)) return found.n;
      at = Math.min(found.n, item.to) + 1;
    }
    return null;
  }

  /** The last failure that is shown before n, or null. */
  async previousFailure(n) {
    let at = Math.min(n, this.raw.last + 1) - 1;
    for (let asked = 0; at >= this.raw.first && asked < FAILURE_STEPS_MAX; ) {
      const item = this.raw.prev(at);
      if (item === null) return null;
      if (!item.hole) {
        if (item.failure && this.wanted(item)) return item.n;
        at = item.n - 1;
        continue;
      }
      asked += 1;
      const found = await this.lastWithin(item.from, Math.min(item.to, at));
      if (found !== null && this.wanted(found)) return found.n;
      at = (found?.n ?? item.from) - 1;
    }
    return null;
  }

  // The route reads downwards only. The very last failure it gives at once; else this steps back in
  // growing strides until there is one, then goes on from it in leaps.
  async lastWithin(from, to) {
    const last = await this.reach({ tail: 1, limit: 1 });
    if (last !== null && last.n <= to) return last.n >= from ? last : null;
    let best = null;
    for (let stride = PAGE_EVENTS, start = to + 1; best === null && start > from; stride *= 4) {
      start = Math.max(from, to - stride + 1);
      best = await this.ask(start, to);
    }
    for (let leap = 1, growing = true; best !== null && leap >= 1; ) {
      const found = await this.reach({ from: best.n + 1, limit: leap });
      if (found !== null && found.n <= to) best = found;
      else growing = false;
      leap = growing ? Math.min(leap * 2, LEAP_FAILURES_MAX) : Math.floor(leap / 2);
    }
    return best;
  }

  // The last of exactly `limit` failures, or null if there are fewer.
  async reach(parameters) {
    const { events, cursor } = await fetchEvents(this.id, { failures: 1, ...parameters });
    return events.length < parameters.limit ? null : itemOf(placeOf(cursor) ?? 0, events[events.length - 1]);
  }

  // The first failure from number `from` on, by the server.
  async ask(from, to = Infinity) {
    // A look that found nothing may only have gone as far as one request goes.
    for (let at = from, asked = 0; at <= to && asked < FAILURE_STEPS_MAX; asked += 1) {
      const { events, cursor, next } = await fetchEvents(this.id, { failures: 1, from: at, limit: 1 });
      const reached = placeOf(cursor) ?? at;
      if (events.length > 0) return reached <= to ? itemOf(reached, events[0]) : null;
      if (!next) return null;
      at = reached + 1;
    }
    return null;
  }
}

const alike = (above, below) => {
  if (!above || !below || above.hole || below.hole) return false;
  const shape = shapeOf(below);
  return shape !== null && shape === shapeOf(above);
};
