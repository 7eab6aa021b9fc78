// A table of things that live, newest first: asked for again every two seconds while somebody looks,
// filtered by words, its rows kept so that nothing flickers.

import { Access } from "./access.js";
import { byId } from "./dom.js";
import { count } from "./format.js";
import { setIcon } from "./icon.js";

const POLL_MS = 2000;
export const PAGE_ITEMS = 100;

export class LiveList {
  /**
   * `source`: noun ("task"), table (its id), fetch(parameters) -> { items, next },
   * created(item) -> text in order, running(item), words(item) to filter by, make(item) -> row with
   * an `element`, fill(row) with `row.item`, counts(items), and tick(row) each second.
   */
  constructor(source) {
    this.source = source;
    this.items = [];
    this.rows = new Map();
    this.next = null;
    this.table = byId(source.table);
    this.body = this.table.tBodies[0];
    this.filter = byId("filter");
    this.access = new Access(() => this.poll());
  }

  start() {
    this.filter.addEventListener("input", () => this.draw());
    byId("search").addEventListener("submit", (event) => event.preventDefault());
    byId("older").addEventListener("click", () => this.older());
    document.addEventListener("visibilitychange", () => this.poll());
    document.addEventListener("keydown", (event) => this.key(event));
    setInterval(() => this.tick(), 1000);
    setIcon("idle");
    this.access.learn();
    this.poll();
  }

  key(event) {
    if (event.key === "/" && event.target !== this.filter && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.filter.select();
    }
    if (event.key === "Escape" && event.target === this.filter) {
      this.filter.value = "";
      this.filter.blur();
      this.draw();
    }
  }

  async poll() {
    clearTimeout(this.timer);
    if (document.hidden || this.polling) return;
    this.polling = true;
    try {
      this.takeNewest(await this.source.fetch({ limit: PAGE_ITEMS }));
      this.say("live", "");
      this.access.set(false);
    } catch (error) {
      this.failed(error.status);
    }
    this.polling = false;
    this.timer = setTimeout(() => this.poll(), POLL_MS);
  }

  failed(status) {
    if (status === 401) {
      this.access.set(true);
      this.say("signed_out", "signed out");
    } else if (status === 403) this.say("no_access", `no access: your token does not allow you to list ${this.source.noun}s`);
    else this.say("offline", `offline (retry in ${POLL_MS / 1000} s)`);
  }

  say(connection, words) {
    byId("link").textContent = words;
    document.documentElement.dataset.connection = connection;
  }

  // The first page is the truth as far as it reaches; what was loaded behind it stays.
  takeNewest(page) {
    const known = new Set(page.items.map((item) => item.id));
    const oldest = page.items[page.items.length - 1];
    const behind = page.next === null || !oldest
      ? []
      : this.items.filter((item) => !known.has(item.id) && this.source.created(item) <= this.source.created(oldest));
    this.items = [...page.items, ...behind];
    if (behind.length === 0) this.next = page.next;
    this.draw();
  }

  async older() {
    const button = byId("older");
    button.disabled = true;
    try {
      const page = await this.source.fetch({ limit: PAGE_ITEMS, after: this.next });
      const known = new Set(this.items.map((item) => item.id));
      this.items.push(...page.items.filter((item) => !known.has(item.id)));
      this.next = page.next;
      this.draw();
    } catch (error) {
      this.failed(error.status);
    }
    button.disabled = false;
  }

  draw() {
    const { items, source } = this;
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (item) => {
      const text = source.words(item).join("\n").toLowerCase();
      return words.every((word) => text.includes(word));
    };
    const shown = items.filter(matches);
    this.drawRows(shown);
    const running = items.filter((item) => source.running(item)).length;
    byId("empty").hidden = items.length > 0;
    this.table.hidden = shown.length === 0;
    byId("none").hidden = items.length === 0 || shown.length > 0;
    byId("none").textContent = `No ${source.noun} matches.`;
    byId("older").hidden = this.next === null;
    const some = words.length > 0 ? `${count(shown.length)} of ` : "";
    byId("counts").textContent = items.length === 0 ? "" : `${count(running)} running · ${some}${count(items.length)}${this.next === null ? "" : "+"} ${source.noun}s`;
    document.title = `${running > 0 ? `● ${running} running · ` : ""}${source.noun}s · tasktail`;
    setIcon(running > 0 ? "running" : "idle");
  }

  drawRows(shown) {
    const kept = new Set(shown.map((item) => item.id));
    for (const [id, row] of this.rows) {
      if (kept.has(id)) continue;
      row.element.remove();
      this.rows.delete(id);
    }
    let above = null;
    for (const item of shown) {
      const element = this.rowFor(item);
      const place = above ? above.nextSibling : this.body.firstChild;
      if (element !== place) this.body.insertBefore(element, place);
      above = element;
    }
  }

  rowFor(item) {
    let row = this.rows.get(item.id);
    if (!row) {
      row = this.source.make(item);
      this.rows.set(item.id, row);
    }
    row.item = item;
    this.source.fill(row);
    return row.element;
  }

  tick() {
    if (!document.hidden) for (const row of this.rows.values()) this.source.tick(row);
  }
}

/** A table row with cells of these classes, its state's badge and a link to its own page. */
export function makeRow(id, href, names) {
  const row = { element: document.createElement("tr") };
  row.element.dataset.id = id;
  for (const name of names) {
    const cell = document.createElement("td");
    cell.className = name;
    row.element.append(cell);
    row[name.split(" ")[0]] = cell;
  }
  row.badge = document.createElement("span");
  row.state.append(row.badge);
  const link = Object.assign(document.createElement("a"), { href, textContent: id, title: id });
  row.id.append(link);
  return row;
}
