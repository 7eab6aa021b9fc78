// The lines of a log that this page holds: chunks that each cover a range of line numbers, sorted,
// never overlapping, bounded by lines and by characters (least recently used go first).
//
// An item is a line { n, line, stream, ... } or a gap { gap: true, n, to, reason, count }. A chunk
// may cover numbers it has no item for: lines of channels that are switched off. What no chunk
// covers is a hole; it is asked for when somebody looks at it.

const CHUNK_LINES = 500;
export const STORE_LINES_MAX = 20_000;
const STORE_CHARS_MAX = 24 * 1024 * 1024;

const endOf = (item) => (item.gap ? item.to : item.n);
const sizeOf = (item) => (item.gap ? 0 : item.line.length);

export class Store {
  constructor(linesMax = STORE_LINES_MAX, charsMax = STORE_CHARS_MAX) {
    this.linesMax = linesMax;
    this.charsMax = charsMax;
    this.clear();
  }

  /** Forgets everything, the extent of the log too. */
  clear() {
    this.first = 1;
    this.last = 0;
    this.wideGaps = 0;
    this.forgetLines();
  }

  /** Forgets the lines; the log is as long as before. */
  forgetLines() {
    this.chunks = [];
    this.lines = 0;
    this.chars = 0;
    this.clock = 0;
  }

  /** The item at or behind number n, `{ hole: true, from, to }` if it is not known, null past the end. */
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

  /** The item at or before number n, a hole, or null before the beginning. */
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

  /** Takes in what is known of from..to; what is already covered stays as it is. */
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

  /** The line that follows the last one; `item` null if its channel is switched off. */
  append(n, item) {
    this.last = Math.max(this.last, n);
    const tail = this.chunks[this.chunks.length - 1];
    if (tail && tail.to >= n) return;
    if (tail && tail.to === n - 1 && tail.items.length < CHUNK_LINES) {
      tail.to = n;
      tail.used = ++this.clock;
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

  /** The last item, if what is known reaches to the end of the log. */
  get tail() {
    const chunk = this.chunks[this.chunks.length - 1];
    return chunk && chunk.to >= this.last ? chunk.items[chunk.items.length - 1] ?? null : null;
  }

  /** Another item in the place of the one with number n; null: its number has none from now on. */
  replace(n, item) {
    const chunk = this.chunks[this.chunkFrom(n)];
    const place = chunk ? lowerBound(chunk.items, n) : 0;
    if (chunk?.items[place]?.n !== n) return;
    this.account(chunk, -1);
    chunk.items.splice(place, 1, ...(item === null ? [] : [item]));
    this.account(chunk, 1);
  }

  /** Notes that the log reaches to n without keeping anything. */
  grow(n) {
    this.last = Math.max(this.last, n);
  }

  insert(index, chunk) {
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
      this.account(this.chunks[oldest], -1);
      this.chunks.splice(oldest, 1);
    }
  }

  // The first chunk that ends at n or later.
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

// The first item that ends at n or later.
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
