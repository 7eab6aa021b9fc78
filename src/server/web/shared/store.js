// The lines of a log in memory: sorted, disjoint chunks that each cover a range of line numbers,
// bounded by lines and by characters; the least recently used chunk is evicted first.
//
// An item is a line { n, line, stream, ... } or a gap { gap: true, n, to, reason, count }. A chunk
// may cover numbers without an item: lines of hidden channels. A range that no chunk covers is a
// hole; it is loaded when it is scrolled into view.

const CHUNK_LINES = 500;
export const STORE_LINES_MAX = 20_000;
const STORE_CHARS_MAX = 24 * 1024 * 1024;

const endOf = (item) => (item.gap ? item.to : item.n);
const sizeOf = (item) => (item.gap ? 0 : item.line.length);

/** A cache of log lines by number. */
export class Store {
  constructor(linesMax = STORE_LINES_MAX, charsMax = STORE_CHARS_MAX) {
    this.linesMax = linesMax;
    this.charsMax = charsMax;
    /** Changes whenever the items do. */
    this.version = 0;
    /** Changes when items are removed, which may be loaded anew. */
    this.generation = 0;
    this.clear();
  }

  /** Removes everything, including the extent of the log. */
  clear() {
    this.first = 1;
    this.last = 0;
    this.wideGaps = 0;
    this.clearLines();
  }

  /** Removes the lines but keeps the extent of the log. */
  clearLines() {
    this.chunks = [];
    this.lines = 0;
    this.chars = 0;
    this.clock = 0;
    this.version += 1;
    this.generation += 1;
  }

  /** Returns the item at or after number n, `{ hole: true, from, to }` if it is not loaded, null past the end. */
  next(n) {
    let at = Math.max(n, this.first);
    while (at <= this.last) {
      const chunk = this.chunks[this.chunkFrom(at)];
      if (!chunk || chunk.from > at) return { hole: true, from: at, to: chunk ? chunk.from - 1 : this.last };
      chunk.used = ++this.clock;
      const item = chunk.items[lowerBound(chunk.items, at)];
      if (item) return item;
      at = chunk.to + 1;
    }
    return null;
  }

  /** Returns the item at or before number n, a hole, or null before the start. */
  prev(n) {
    let at = Math.min(n, this.last);
    while (at >= this.first) {
      const index = this.chunkFrom(at);
      const chunk = this.chunks[index];
      if (!chunk || chunk.from > at) {
        const before = this.chunks[index - 1];
        return { hole: true, from: before ? Math.max(before.to + 1, this.first) : this.first, to: at };
      }
      chunk.used = ++this.clock;
      const place = lowerBound(chunk.items, at);
      const here = chunk.items[place];
      const item = here && here.n <= at ? here : chunk.items[place - 1];
      if (item) return item;
      at = chunk.from - 1;
    }
    return null;
  }

  /** Returns the items of from..to, in order, and a hole for each range that is not loaded. */
  range(from, to) {
    const found = [];
    let at = Math.max(from, this.first);
    const end = Math.min(to, this.last);
    for (let index = this.chunkFrom(at); at <= end; index += 1) {
      const chunk = this.chunks[index];
      if (!chunk || chunk.from > at) found.push({ hole: true, from: at, to: Math.min(end, chunk ? chunk.from - 1 : end) });
      if (!chunk || chunk.from > end) break;
      chunk.used = ++this.clock;
      for (let i = lowerBound(chunk.items, at); i < chunk.items.length && chunk.items[i].n <= end; i += 1) found.push(chunk.items[i]);
      at = chunk.to + 1;
    }
    return found;
  }

  /** Stores the items of from..to; numbers that are already covered stay unchanged. */
  put(from, to, items) {
    let at = from;
    while (at <= to) {
      const index = this.chunkFrom(at);
      const chunk = this.chunks[index];
      if (chunk && chunk.from <= at) {
        at = chunk.to + 1;
        continue;
      }
      const end = Math.min(to, chunk ? chunk.from - 1 : to, at + CHUNK_LINES - 1);
      const start = lowerBound(items, at);
      let stop = start;
      while (stop < items.length && items[stop].n <= end) stop += 1;
      const cover = stop > start ? Math.max(end, endOf(items[stop - 1])) : end;
      this.insert(index, { from: at, to: cover, items: items.slice(start, stop) });
      at = cover + 1;
    }
    this.evict();
  }

  /** Appends the next line; `item` is null if its channel is hidden. */
  append(n, item) {
    this.last = Math.max(this.last, n);
    const tail = this.chunks[this.chunks.length - 1];
    if (tail && tail.to >= n) return;
    if (tail && tail.to === n - 1 && tail.items.length < CHUNK_LINES) {
      tail.to = n;
      tail.used = ++this.clock;
      this.version += 1;
      if (item) {
        tail.items.push(item);
        this.lines += 1;
        this.chars += sizeOf(item);
      }
    } else {
      this.insert(this.chunks.length, { from: n, to: n, items: item ? [item] : [] });
      this.evict();
    }
  }

  /** Returns the last item if the end of the log is loaded, else null. */
  get tail() {
    const chunk = this.chunks[this.chunks.length - 1];
    return chunk && chunk.to >= this.last ? chunk.items[chunk.items.length - 1] ?? null : null;
  }

  /** Replaces the item with number n; null removes it, and the number stays covered. */
  replace(n, item) {
    const chunk = this.chunks[this.chunkFrom(n)];
    const place = chunk ? lowerBound(chunk.items, n) : 0;
    this.version += 1;
    if (chunk?.items[place]?.n !== n) return;
    this.account(chunk, -1);
    chunk.items.splice(place, 1, ...(item === null ? [] : [item]));
    this.account(chunk, 1);
  }

  /** Extends the log to n without storing lines. */
  grow(n) {
    this.last = Math.max(this.last, n);
  }

  insert(index, chunk) {
    this.version += 1;
    chunk.used = ++this.clock;
    this.chunks.splice(index, 0, chunk);
    this.account(chunk, 1);
  }

  account(chunk, sign) {
    for (const item of chunk.items) {
      this.lines += sign;
      this.chars += sign * sizeOf(item);
      if (sign > 0 && item.gap && item.to > item.n) this.wideGaps += 1;
    }
  }

  evict() {
    while ((this.lines > this.linesMax || this.chars > this.charsMax) && this.chunks.length > 1) {
      let oldest = 0;
      for (let i = 1; i < this.chunks.length; i += 1) {
        if (this.chunks[i].used < this.chunks[oldest].used) oldest = i;
      }
      this.version += 1;
      this.generation += 1;
      this.account(this.chunks[oldest], -1);
      this.chunks.splice(oldest, 1);
    }
  }

  // Returns the index of the first chunk that ends at n or later.
  chunkFrom(n) {
    let low = 0;
    let high = this.chunks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.chunks[middle].to < n) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

// Returns the index of the first item that ends at n or later.
function lowerBound(items, n) {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (endOf(items[middle]) < n) low = middle + 1;
    else high = middle;
  }
  return low;
}
