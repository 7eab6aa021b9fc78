// The search across tasks: a stream of hits, the newest task first, grouped by task.

import { Access } from "../shared/access.js";
import { plainText } from "../shared/ansi.js";
import { ApiError, searchUrl } from "../shared/api.js";
import { byId, element } from "../shared/dom.js";
import { bindFindKey } from "../shared/findkey.js";
import { count, counted } from "../shared/format.js";
import { setIcon } from "../shared/icon.js";
import { ndjson } from "../shared/ndjson.js";
import { at } from "../shared/root.js";
import { localPattern, paintHits, pattern } from "../shared/search.js";

const PAGE_HITS = 200;
const LINE_CHARS_MAX = 500;

/** The page of the search. */
class SearchPage {
  constructor() {
    this.access = new Access(() => this.start());
    this.fields = { q: byId("query"), label: byId("label"), since: byId("since") };
    byId("find").addEventListener("submit", (event) => {
      event.preventDefault();
      this.start();
    });
    byId("regex").addEventListener("click", () => this.setRegex(!this.regex));
    byId("more-hits").addEventListener("click", () => this.load());
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.target.closest("input")) return;
      event.preventDefault();
      this.fields.q.select();
    });
    bindFindKey(this.fields.q, "the lines of all tasks");
    setIcon("idle");
    this.access.load();
    const view = new URLSearchParams(location.search);
    for (const [name, field] of Object.entries(this.fields)) field.value = view.get(name) ?? "";
    this.setRegex(view.get("regex") === "1");
    if (this.fields.q.value === "") this.fields.q.focus();
    else this.start();
  }

  setRegex(on) {
    this.regex = on;
    byId("regex").setAttribute("aria-pressed", String(on));
  }

  /** Begins a new search, and puts it into the page's address. */
  start() {
    const { q, label, since } = this.fields;
    const text = q.value;
    if (text === "") return;
    this.text = text;
    const view = new URLSearchParams({ q: text });
    if (this.regex) view.set("regex", "1");
    for (const field of [label, since]) if (field.value.trim() !== "") view.set(field.id, field.value.trim());
    history.replaceState(null, "", `${location.pathname}?${view}`);
    document.title = `${text} · search · tasktail`;
    this.parameters = { q: pattern(text, this.regex), label: label.value.trim() || null, since: since.value.trim() || null };
    this.local = localPattern(text, this.regex);
    this.hits = 0;
    this.tasks = new Map();
    this.next = null;
    byId("found").replaceChildren();
    this.load();
  }

  // Loads one page of hits, and shows each as it arrives.
  async load() {
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    byId("more-hits").hidden = true;
    this.complete = false;
    this.say("Searching…");
    try {
      const url = searchUrl({ ...this.parameters, limit: PAGE_HITS, after: this.next });
      for await (const rows of ndjson(url, abort.signal)) {
        if (this.abort !== abort) return;
        for (const row of rows) this.add(row);
        paintHits(document.querySelectorAll(".found .what"), this.local);
        if (this.hits > 0) this.say(`${counted(this.hits, "line")} in ${counted(this.tasks.size, "task")} so far…`);
      }
      this.finished();
    } catch (error) {
      if (error.name === "AbortError" || this.abort !== abort) return;
      this.failed(error);
    }
  }

  add(row) {
    if (!("task" in row)) {
      this.next = row.next ?? null;
      this.complete = true;
      return;
    }
    this.hits += 1;
    const group = this.groupOf(row.task);
    group.hits += 1;
    group.total.textContent = counted(group.hits, "line");
    const item = element("li", "");
    const link = element("a", "");
    link.href = this.linkTo(row.task, row.n);
    link.append(element("span", "n", count(row.n)), element("span", "what", plainText(row.line).slice(0, LINE_CHARS_MAX)));
    item.append(link);
    group.list.append(item);
  }

  groupOf(task) {
    const known = this.tasks.get(task);
    if (known) return known;
    const box = element("section", "found");
    const head = element("h2", "");
    const link = element("a", "", task);
    link.href = this.linkTo(task, null);
    const total = element("span", "");
    head.append(link, total);
    const list = element("ol", "");
    box.append(head, list);
    byId("found").append(box);
    const group = { list, total, hits: 0 };
    this.tasks.set(task, group);
    return group;
  }

  // The page of the task shows the same search.
  linkTo(task, n) {
    const view = new URLSearchParams({ q: this.text });
    if (this.regex) view.set("regex", "1");
    return at(`/tasks/${encodeURIComponent(task)}?${view}${n === null ? "" : `#L${n}`}`);
  }

  finished() {
    // The last row of a complete response has the place to continue at.
    if (!this.complete) throw new ApiError(0, "incomplete", "the connection broke");
    const more = this.next !== null;
    byId("more-hits").hidden = !more;
    if (this.hits === 0 && !more) this.say("No line matches.");
    else if (this.hits === 0) this.say("No line matches in the newest tasks so far. Load more to continue with older ones.");
    else this.say(`${counted(this.hits, "line")} in ${counted(this.tasks.size, "task")}${more ? ", and there may be more." : "."}`);
  }

  failed(error) {
    if (error.status === 401) this.access.setLost(true);
    const words = error instanceof ApiError ? error.message : "the connection broke";
    const found = this.hits > 0 ? ` The ${counted(this.hits, "line")} found so far are shown.` : "";
    this.say(`The search failed: ${words}.${found}`, true);
    byId("more-hits").hidden = this.next === null;
  }

  say(words, bad = false) {
    byId("find-state").textContent = words;
    byId("find-state").classList.toggle("bad", bad);
  }
}

new SearchPage();
