// Copies lines that are not drawn: the whole log after "select all", or the marked lines.
//
// The text is loaded from the server and is what the page would draw of it. Browsers take text for the
// clipboard at once in a copy event, and later only on secure origins, so loading starts at "select all".

import { downloadUrl, fetchLines, withShare } from "./api.js";
import { plainText } from "./ansi.js";
import { BlockView } from "./blocks.js";
import { bytes, count, counted } from "./format.js";
import { Store } from "./store.js";
import { say } from "./toast.js";

/** The most text that is copied; larger logs are downloaded instead. */
export const COPY_CHARS_MAX = 16_000_000;
const PAGE_LINES = 1000;

const TOO_LARGE =
  `Not copied: this is more than ${bytes(COPY_CHARS_MAX)}. Download the log, or mark a range: click a line number, Shift+click another, Ctrl+C.`;

class TooLarge extends Error {
  get tooLarge() {
    return true;
  }
}

/** Copying of lines beyond those on the screen, up to a number of characters. */
export class LogCopy {
  /** `channels()` returns the names of the shown channels, or null for all. */
  constructor(id, channels, charsMax = COPY_CHARS_MAX) {
    this.id = id;
    this.channels = channels;
    this.charsMax = charsMax;
    this.clear();
  }

  /** Selects the whole log, unless its size is over the limit. */
  selectAll(lines, size) {
    if (size > COPY_CHARS_MAX) return say(TOO_LARGE);
    this.select("log", () => this.loadLog());
    return say(`The whole log is selected: ${counted(lines, "line")}. Ctrl+C copies it.`);
  }

  /** Returns the text of the whole log. */
  load() {
    this.select("log", () => this.loadLog());
    return this.loading;
  }

  /** Selects the lines of a range. */
  selectRange({ first, last }) {
    const name = `${first}-${last}`;
    if (this.name !== name) this.select(name, () => this.loadRange(first, last));
  }

  select(name, load) {
    this.clear();
    this.name = name;
    const abort = new AbortController();
    this.abort = abort;
    this.loading = load().then((lines) => (this.text = textOf(lines)));
    this.loading.catch(() => abort.abort());
  }

  clear() {
    this.abort?.abort();
    Object.assign(this, { name: null, abort: null, loading: null, text: null });
  }

  get active() {
    return this.name !== null;
  }

  /** Handles a copy event. */
  async copy(event) {
    event.preventDefault();
    const { loading } = this;
    if (this.text !== null) {
      event.clipboardData.setData("text/plain", this.text);
      return say(copied(this.text));
    }
    try {
      if (globalThis.ClipboardItem && navigator.clipboard?.write) {
        const blob = loading.then((text) => new Blob([text], { type: "text/plain" }));
        await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
        return say(copied(await loading));
      }
      say("The lines are still loading.");
      await loading;
      return say("The lines are loaded: press Ctrl+C again to copy them.");
    } catch {
      return this.explain(loading);
    }
  }

  async explain(loading) {
    const error = await loading.then(() => null, (reason) => reason);
    if (error?.name === "AbortError") return;
    if (error instanceof TooLarge) say(TOO_LARGE);
    else if (error) say(`Not copied: ${error.message}.`);
    else say("The lines are loaded: press Ctrl+C again to copy them.");
  }

  async loadLog() {
    const response = await fetch(downloadUrl(this.id, { format: "ndjson" }), { headers: withShare({}), signal: this.abort.signal });
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const lines = new Bounded(this.channels(), this.charsMax);
    let rest = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const rows = (rest + part.value).split("\n");
      rest = rows.pop();
      for (const row of rows) lines.add(JSON.parse(row));
    }
    return lines.lines;
  }

  async loadRange(first, last) {
    const { signal } = this.abort;
    const lines = new Bounded(this.channels(), this.charsMax);
    for (let from = first; from <= last; ) {
      const response = await fetchLines(this.id, { from, limit: Math.min(PAGE_LINES, last - from + 1) }, signal);
      for (const line of response.lines) if (line.n <= last) lines.add(line);
      if (response.next_line <= from || response.next_line > response.last_line) break;
      from = response.next_line;
    }
    return lines.lines;
  }
}

class Bounded {
  constructor(channels, charsMax) {
    this.channels = channels;
    this.charsMax = charsMax;
    this.lines = [];
    this.chars = 0;
  }

  add(line) {
    if (typeof line.line !== "string" || (this.channels && !this.channels.includes(line.stream))) return;
    this.chars += line.line.length + 1;
    if (this.chars > this.charsMax) throw new TooLarge();
    this.lines.push(line);
  }
}

const copied = (text) => `Copied: ${count(text.split("\n").length - 1)} rows, ${bytes(text.length)}.`;

/** Returns the text that the page draws of lines. */
export function textOf(lines) {
  const store = new Store(Infinity, Infinity);
  if (lines.length === 0) return "";
  store.first = lines[0].n;
  store.grow(lines.at(-1).n);
  store.put(lines[0].n, lines.at(-1).n, lines);
  const view = new BlockView(store);
  const parts = [];
  for (let item = view.next(store.first); item !== null; item = view.next((item.to ?? item.n) + 1)) {
    if (item.hole) continue;
    if (!item.block) parts.push(plainText(item.line), item.partial ? "" : "\n");
    else {
      for (const row of item.rows) parts.push(row.spans.map((span) => span.text).join("").trimEnd(), "\n");
      for (const line of item.internals) parts.push(plainText(line.line), "\n");
    }
  }
  return parts.join("");
}
