// Searches the whole log on the server, since this page holds only a part of it. A new search
// cancels the one in progress.

import { plainText } from "./ansi.js";
import { fetchLines } from "./api.js";

const HIT_PAGE_LINES = 1000;
const HITS_MAX = 20_000;
const REACH_MAX_LINES = 10_000;
// A line with one of these is displayed as another text.
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;
const ERROR_WORDS = "(?i)\\b(error|fatal|panic(ked)?|exception|traceback|failed|failure|segfault)\\b";

/** Returns the server's regular expression: literal text unless `regex`; case matters if it has capitals. */
export function pattern(text, regex) {
  const body = regex ? text : text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  return /[A-Z]/.test(text) ? body : `(?i)${body}`;
}

/** Returns the same expression for the browser, to highlight matches; null if it is not valid there. */
export function localPattern(text, regex) {
  const body = pattern(text, regex);
  const ignoresCase = body.startsWith("(?i)");
  try {
    return new RegExp(ignoresCase ? body.slice(4) : body, ignoresCase ? "gi" : "g");
  } catch {
    return null;
  }
}

/** A search in one task's log. */
export class Search {
  /** Calls `changed()` whenever the hits, the state or the error change. */
  constructor(id, changed) {
    this.id = id;
    this.changed = changed;
    this.waiters = [];
    this.clear();
  }

  clear() {
    this.abort?.abort();
    this.text = "";
    this.regex = false;
    this.local = null;
    this.hits = [];
    this.liveHits = [];
    this.at = -1;
    this.more = false;
    this.busy = false;
    /** Whether more hits may come from the server. */
    this.loading = false;
    this.error = null;
    this.progressed();
  }

  // Wakes the callers that wait for hits.
  progressed() {
    for (const wake of this.waiters?.splice(0) ?? []) wake();
  }

  /** Starts a new search; resolves when the first hits are loaded. */
  async start(text, regex, stream) {
    this.clear();
    this.text = text;
    this.regex = regex;
    if (text === "") {
      this.changed();
      return;
    }
    this.local = localPattern(text, regex);
    this.parameters = { q: pattern(text, regex), stream, limit: HIT_PAGE_LINES };
    this.from = 1;
    const abort = new AbortController();
    this.abort = abort;
    this.loading = true;
    const first = await this.loadPage(abort);
    this.loadRest(abort, first);
  }

  async loadRest(abort, first) {
    let loaded = first;
    while (loaded && this.more && this.hits.length < HITS_MAX) {
      this.progressed();
      loaded = await this.loadPage(abort);
    }
    if (this.abort !== abort) return;
    this.loading = false;
    this.progressed();
  }

  // Loads one more page of hits. Returns false if cancelled or failed.
  async loadPage(abort) {
    this.busy = true;
    this.changed();
    try {
      const response = await fetchLines(this.id, { ...this.parameters, from: this.from }, abort.signal);
      for (const line of response.lines) this.add(line.n);
      this.more = hasMore(response);
      this.from = response.next_line;
      if (!this.more) for (const n of this.liveHits.splice(0)) this.add(n);
    } catch (error) {
      if (error.name === "AbortError") return false;
      this.error = error.message;
      this.more = false;
      return false;
    } finally {
      if (this.abort === abort) {
        this.busy = false;
        this.changed();
      }
    }
    return true;
  }

  add(n) {
    const last = this.hits[this.hits.length - 1];
    if (last === undefined || n > last) this.hits.push(n);
  }

  /** Adds a live line if it matches; it counts once all pages are loaded. */
  addLive(line) {
    if (!this.local || this.hits.length >= HITS_MAX) return;
    if (this.parameters.stream && !this.parameters.stream.split(",").includes(line.stream)) return;
    this.local.lastIndex = 0;
    if (!this.local.test(CONTROL.test(line.line) ? plainText(line.line) : line.line)) return;
    if (!this.busy && !this.more) this.add(line.n);
    else if (this.liveHits.length < HITS_MAX) this.liveHits.push(line.n);
  }

  /** Selects and returns the next hit after line n, or the first one; null if there are none. */
  next(n) {
    const index = this.hits.findIndex((hit) => hit > n);
    return this.select(index >= 0 ? index : 0);
  }

  previous(n) {
    const index = this.hits.findLastIndex((hit) => hit < n);
    return this.select(index >= 0 ? index : this.hits.length - 1);
  }

  select(index) {
    this.at = this.hits.length > 0 ? index : -1;
    this.changed();
    return this.hits[index] ?? null;
  }

  /** As `next`, but waits until the server found a hit after line n or has none. Returns null if cancelled. */
  async findNext(n) {
    return (await this.until(() => this.hits.at(-1) > n)) ? this.next(n) : null;
  }

  /** As `previous`, but waits until the server has searched up to line n. Returns null if cancelled. */
  async findPrevious(n) {
    return (await this.until(() => this.from > n && this.hits[0] < n)) ? this.previous(n) : null;
  }

  async until(found) {
    const { abort } = this;
    while (this.loading && !found()) {
      await new Promise((wake) => this.waiters.push(wake));
      if (this.abort !== abort) return false;
    }
    return true;
  }
}

// A filtered response ends when it has enough lines or the server has scanned enough.
const hasMore = (response) => response.next_line <= response.last_line;

function queries(stream) {
  const all = [{ q: ERROR_WORDS, stream }];
  if (!stream || stream.split(",").includes("stderr")) all.push({ stream: "stderr" });
  return all;
}

/** Returns the first stderr line or error after n, or null; `stream` limits the channels. */
export async function nextError(id, n, stream) {
  const found = await Promise.all(queries(stream).map((query) => firstAfter(id, query, n)));
  const some = found.filter((line) => line !== null);
  return some.length > 0 ? Math.min(...some) : null;
}

/** Returns the last stderr line or error before n, or null. */
export async function previousError(id, n, stream) {
  const found = await Promise.all(queries(stream).map((query) => lastBefore(id, query, n)));
  const best = Math.max(...found.map((line) => line ?? 0));
  return best > 0 ? best : null;
}

async function firstAfter(id, query, n) {
  for (let from = n + 1; ; ) {
    const response = await fetchLines(id, { ...query, from, limit: 1 });
    if (response.lines.length > 0) return response.lines[0].n;
    if (!hasMore(response)) return null;
    from = response.next_line;
  }
}

// The route reads only forwards, so this steps back in growing strides until one has a match.
async function lastBefore(id, query, n) {
  let end = n;
  for (let stride = 1000; end > 1; stride *= 4) {
    const from = Math.max(1, end - stride);
    const last = await lastWithin(id, query, from, end);
    if (last !== null) return last;
    end = from;
  }
  return null;
}

async function lastWithin(id, query, from, end) {
  let last = null;
  for (let at = from; at < end; ) {
    const response = await fetchLines(id, { ...query, from: at, limit: Math.min(REACH_MAX_LINES, end - at) });
    const inside = response.lines.filter((line) => line.n < end);
    if (inside.length > 0) last = inside[inside.length - 1].n;
    if (!hasMore(response)) break;
    at = response.next_line;
  }
  return last;
}

/** Highlights the hits in the rows on the screen, without changing their elements. */
export function paintHits(rows, local) {
  if (!globalThis.CSS?.highlights) return;
  if (!local) {
    CSS.highlights.delete("hit");
    return;
  }
  const ranges = [];
  for (const cell of rows) for (const range of hitRanges(cell, local)) ranges.push(range);
  CSS.highlights.set("hit", new Highlight(...ranges));
}

function hitRanges(cell, local) {
  const nodes = [];
  let text = "";
  const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    nodes.push({ node, start: text.length });
    text += node.data;
  }
  const ranges = [];
  for (const match of text.matchAll(local)) {
    if (match[0] === "") continue;
    const range = new Range();
    range.setStart(...position(nodes, match.index));
    range.setEnd(...position(nodes, match.index + match[0].length - 1, 1));
    ranges.push(range);
    if (ranges.length >= 100) break;
  }
  return ranges;
}

function position(nodes, index, after = 0) {
  const { node, start } = nodes.findLast((entry) => entry.start <= index);
  return [node, index - start + after];
}
