// Finding lines in the whole log, by the server: the log is not here. Nothing waits for an answer:
// a newer question cancels the one under way.

import { fetchLines } from "./api.js";

const HIT_PAGE_LINES = 1000;
const HITS_MAX = 20_000;
const REACH_MAX_LINES = 10_000;
const ERROR_WORDS = "(?i)\\b(error|fatal|panic(ked)?|exception|traceback|failed|failure|segfault)\\b";

/** The regular expression for the server: words as they are unless `regex`, case ignored unless typed. */
export function pattern(text, regex) {
  const body = regex ? text : text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  return /[A-Z]/.test(text) ? body : `(?i)${body}`;
}

/** The same for the browser, to paint hits; null where the dialects differ. */
export function localPattern(text, regex) {
  const body = pattern(text, regex);
  const ignoresCase = body.startsWith("(?i)");
  try {
    return new RegExp(ignoresCase ? body.slice(4) : body, ignoresCase ? "gi" : "g");
  } catch {
    return null;
  }
}

export class Search {
  /** `changed()` is called whenever hits, state or error are others. */
  constructor(id, changed) {
    this.id = id;
    this.changed = changed;
    this.clear();
  }

  clear() {
    this.abort?.abort();
    this.text = "";
    this.local = null;
    this.hits = [];
    this.at = -1;
    this.more = false;
    this.busy = false;
    this.error = null;
  }

  /** Begins anew; resolves when the first hits are there. */
  async start(text, regex, stream) {
    this.clear();
    this.text = text;
    if (text === "") {
      this.changed();
      return;
    }
    this.local = localPattern(text, regex);
    this.parameters = { q: pattern(text, regex), stream, limit: HIT_PAGE_LINES };
    this.cursor = null;
    const abort = new AbortController();
    this.abort = abort;
    const first = await this.page(abort);
    if (first) this.rest(abort);
  }

  async rest(abort) {
    while (this.more && this.hits.length < HITS_MAX && (await this.page(abort)));
  }

  // One more page of hits; false when cancelled or failed.
  async page(abort) {
    this.busy = true;
    this.changed();
    try {
      const where = this.cursor === null ? { from: 1 } : { after: this.cursor };
      const answer = await fetchLines(this.id, { ...this.parameters, ...where }, abort.signal);
      for (const line of answer.lines) this.add(line.n);
      this.more = answer.lines.length > 0 && answer.cursor !== this.cursor;
      this.cursor = answer.cursor;
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

  /** A line that came live; it counts once the pages have reached the end. */
  sees(line) {
    if (!this.local || this.busy || this.more || this.hits.length >= HITS_MAX) return;
    this.local.lastIndex = 0;
    if (this.local.test(line.line)) this.add(line.n);
  }

  /** The next hit behind line n (or the first again), null if there is none. */
  next(n) {
    const index = this.hits.findIndex((hit) => hit > n);
    return this.go(index >= 0 ? index : 0);
  }

  previous(n) {
    const index = this.hits.findLastIndex((hit) => hit < n);
    return this.go(index >= 0 ? index : this.hits.length - 1);
  }

  go(index) {
    this.at = index;
    this.changed();
    return this.hits[index] ?? null;
  }
}

const QUESTIONS = [{ stream: "stderr" }, { q: ERROR_WORDS }];

/** The first stderr or error-looking line behind n, or null. */
export async function nextError(id, n) {
  const answers = await Promise.all(QUESTIONS.map((question) => fetchLines(id, { ...question, from: n + 1, limit: 1 })));
  const found = answers.flatMap((answer) => answer.lines.map((line) => line.n));
  return found.length > 0 ? Math.min(...found) : null;
}

/** The last stderr or error-looking line before n, or null. */
export async function previousError(id, n) {
  const found = await Promise.all(QUESTIONS.map((question) => lastBefore(id, question, n)));
  const best = Math.max(...found.map((line) => line ?? 0));
  return best > 0 ? best : null;
}

// The route reads downwards only, so this steps back in growing strides until one has something.
async function lastBefore(id, question, n) {
  let end = n;
  for (let stride = 1000; end > 1; stride *= 4) {
    const from = Math.max(1, end - stride);
    const last = await lastWithin(id, question, from, end);
    if (last !== null) return last;
    end = from;
  }
  return null;
}

async function lastWithin(id, question, from, end) {
  let last = null;
  let at = from;
  while (at < end) {
    const limit = Math.min(REACH_MAX_LINES, end - at);
    const { lines } = await fetchLines(id, { ...question, from: at, limit });
    const inside = lines.filter((line) => line.n < end);
    if (inside.length > 0) last = inside[inside.length - 1].n;
    if (lines.length < limit || inside.length < lines.length) break;
    at = last + 1;
  }
  return last;
}

/** Paints the hits in the rows on the screen, without touching their elements. */
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
    range.setStart(...placeOf(nodes, match.index));
    range.setEnd(...placeOf(nodes, match.index + match[0].length - 1, 1));
    ranges.push(range);
    if (ranges.length >= 100) break;
  }
  return ranges;
}

function placeOf(nodes, index, behind = 0) {
  const { node, start } = nodes.findLast((entry) => entry.start <= index);
  return [node, index - start + behind];
}
