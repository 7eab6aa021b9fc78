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
    this.meanwhile = [];
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
    this.from = 1;
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
      const answer = await fetchLines(this.id, { ...this.parameters, from: this.from }, abort.signal);
      for (const line of answer.lines) this.add(line.n);
      this.more = goesOn(answer);
      this.from = answer.next_line;
      if (!this.more) for (const n of this.meanwhile.splice(0)) this.add(n);
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
    if (!this.local || this.hits.length >= HITS_MAX) return;
    if (this.parameters.stream && !this.parameters.stream.split(",").includes(line.stream)) return;
    this.local.lastIndex = 0;
    if (!this.local.test(line.line)) return;
    if (!this.busy && !this.more) this.add(line.n);
    else if (this.meanwhile.length < HITS_MAX) this.meanwhile.push(line.n);
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

// An answer to a filter ends where it has enough lines, or has looked at enough of them.
const goesOn = (answer) => answer.next_line <= answer.last_line;

function questions(stream) {
  const all = [{ q: ERROR_WORDS, stream }];
  if (!stream || stream.split(",").includes("stderr")) all.push({ stream: "stderr" });
  return all;
}

/** The first stderr or error-looking line behind n, or null; `stream` if only some channels count. */
export async function nextError(id, n, stream) {
  const found = await Promise.all(questions(stream).map((question) => firstBehind(id, question, n)));
  const some = found.filter((line) => line !== null);
  return some.length > 0 ? Math.min(...some) : null;
}

/** The last stderr or error-looking line before n, or null. */
export async function previousError(id, n, stream) {
  const found = await Promise.all(questions(stream).map((question) => lastBefore(id, question, n)));
  const best = Math.max(...found.map((line) => line ?? 0));
  return best > 0 ? best : null;
}

async function firstBehind(id, question, n) {
  for (let from = n + 1; ; ) {
    const answer = await fetchLines(id, { ...question, from, limit: 1 });
    if (answer.lines.length > 0) return answer.lines[0].n;
    if (!goesOn(answer)) return null;
    from = answer.next_line;
  }
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
  for (let at = from; at < end; ) {
    const answer = await fetchLines(id, { ...question, from: at, limit: Math.min(REACH_MAX_LINES, end - at) });
    const inside = answer.lines.filter((line) => line.n < end);
    if (inside.length > 0) last = inside[inside.length - 1].n;
    if (!goesOn(answer)) break;
    at = answer.next_line;
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
