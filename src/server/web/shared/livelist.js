// A live table: polled every two seconds while the page is visible, filtered by words and by state, sorted by
// a column. Older items are loaded when the end of the table is on the screen, and all of them for a filter.

import { Access } from "./access.js";
import { announce } from "./announce.js";
import { byId } from "./dom.js";
import { bindFindKey } from "./findkey.js";
import { count } from "./format.js";
import { setIcon } from "./icon.js";
import { TableRows } from "./tablerows.js";
import { say } from "./toast.js";

const POLL_MS = 2000;
export const PAGE_ITEMS = 100;
const LOAD_ITEMS = 1000;
/** The most items that one page holds. */
const ITEMS_MAX = 50_000;
const REFRESHED_MAX = 20;
const TYPING_PAUSE_MS = 120;
const KEYS = "j and k move between rows, Enter opens one, / filters, g and G go to the start and end.";

/** A live, filtered table of tasks or runs. */
export class LiveList {
  /**
   * `source`: noun ("task"), table (its id), fetch(parameters) -> { items, next }, refetch(item) -> item (optional),
   * created(item) -> sortable text, running(item), kind(item) -> the state to filter by, words(item) -> texts to filter
   * by, sortKeys: { column: (item) -> number or text }, make(item) -> row with an `element`, fill(row) from `row.item`,
   * and tick(row) each second.
   */
  constructor(source) {
    this.source = source;
    this.items = [];
    this.next = null;
    this.texts = new WeakMap();
    this.table = byId(source.table);
    this.rows = new TableRows(this.table, source, () => this.loadMore());
    this.filter = byId("filter");
    const view = new URLSearchParams(location.search);
    this.filter.value = view.get("filter") ?? "";
    this.kind = view.get("state") ?? "";
    const [, down, column] = /^(-?)(\w+)$/.exec(view.get("sort") ?? "") ?? [];
    this.sort = column in (source.sortKeys ?? {}) ? { column, down: down === "-" } : null;
    this.access = new Access(() => this.poll());
  }

  start() {
    let timer = null;
    this.filter.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.viewChanged(), TYPING_PAUSE_MS);
    });
    byId("search").addEventListener("submit", (event) => event.preventDefault());
    byId("older").addEventListener("click", () => this.older());
    for (const button of document.querySelectorAll("[data-kind]")) button.addEventListener("click", () => this.viewChanged({ kind: button.dataset.kind }));
    for (const button of this.table.querySelectorAll("th button")) button.addEventListener("click", () => this.sortBy(button.dataset.sort));
    document.addEventListener("visibilitychange", () => this.poll());
    document.addEventListener("keydown", (event) => this.key(event));
    bindFindKey(this.filter, `all ${this.source.noun}s`);
    new ResizeObserver(([entry]) => {
      document.documentElement.style.setProperty("--header", `${Math.floor(entry.target.getBoundingClientRect().height)}px`);
    }).observe(document.querySelector("header"));
    setInterval(() => this.tick(), 1000);
    setIcon("idle");
    this.drawView();
    this.access.load();
    this.poll();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === this.filter) {
      if (event.key !== "Escape") return;
      this.filter.value = "";
      this.filter.blur();
      this.viewChanged();
      return;
    }
    const action = {
      "/": () => this.filter.select(),
      j: () => this.rows.step(1),
      k: () => this.rows.step(-1),
      g: () => scrollTo(0, 0),
      G: () => scrollTo(0, document.documentElement.scrollHeight),
      "?": () => say(KEYS),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  // The first click sorts by the largest value, the second by the smallest, the third by nothing.
  sortBy(column) {
    const { sort } = this;
    if (sort?.column !== column) this.sort = { column, down: true };
    else this.sort = sort.down ? { column, down: false } : null;
    this.viewChanged();
  }

  /** Shows another view, and puts it into the page's address. */
  viewChanged(changes = {}) {
    Object.assign(this, changes);
    const view = new URLSearchParams(location.search);
    const set = (name, value) => (value ? view.set(name, value) : view.delete(name));
    set("filter", this.filter.value.trim());
    set("state", this.kind);
    set("sort", this.sort && `${this.sort.down ? "-" : ""}${this.sort.column}`);
    const query = view.toString();
    history.replaceState(null, "", location.pathname + (query === "" ? "" : `?${query}`));
    this.drawView();
    this.draw();
    if (this.isFiltered) announce(byId("counts").textContent);
  }

  drawView() {
    for (const button of document.querySelectorAll("[data-kind]")) button.setAttribute("aria-pressed", String(button.dataset.kind === this.kind));
    for (const button of this.table.querySelectorAll("th button")) {
      const cell = button.closest("th");
      if (button.dataset.sort === this.sort?.column) cell.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  get isFiltered() {
    return this.filter.value.trim() !== "" || this.kind !== "";
  }

  async poll() {
    clearTimeout(this.timer);
    if (document.hidden || this.polling) return;
    this.polling = true;
    try {
      this.mergeNewest(await this.source.fetch({ limit: PAGE_ITEMS }));
      await this.refresh();
      this.showStatus("live", "");
      this.access.setLost(false);
    } catch (error) {
      this.showError(error.status);
    }
    this.polling = false;
    this.timer = setTimeout(() => this.poll(), POLL_MS);
  }

  showError(status) {
    if (status === 401) {
      this.access.setLost(true);
      this.showStatus("signed_out", "signed out");
    } else if (status === 403) this.showStatus("no_access", `no access: your token cannot list ${this.source.noun}s`);
    else this.showStatus("offline", `offline (retry in ${POLL_MS / 1000} s)`);
  }

  showStatus(connection, text) {
    const root = document.documentElement;
    byId("link").textContent = text;
    if (root.dataset.connection !== connection && (connection !== "live" || root.dataset.connection)) {
      announce(connection === "live" ? "Connected again" : text.replace(/ \(.*/, ""));
    }
    root.dataset.connection = connection;
    if (this.items.length > 0 || connection === "live") return;
    byId("none").hidden = false;
    byId("none").textContent = {
      offline: "The server does not answer. The list appears when it is back.",
      no_access: `Your token cannot list ${this.source.noun}s. Sign in with one that can.`,
    }[connection] ?? "";
  }

  // The first page replaces the items in its range; older ones stay.
  mergeNewest(page) {
    const text = JSON.stringify(page);
    if (text === this.newest) return;
    this.newest = text;
    const known = new Set(page.items.map((item) => item.id));
    const oldest = page.items[page.items.length - 1];
    const older = page.next === null || !oldest
      ? []
      : this.items.filter((item) => !known.has(item.id) && this.source.created(item) <= this.source.created(oldest));
    this.items = [...page.items, ...older];
    if (older.length === 0) this.next = page.next;
    this.draw();
  }

  // Older items that still run are asked for one by one.
  async refresh() {
    const { source } = this;
    if (!source.refetch || this.items.length <= PAGE_ITEMS) return;
    const running = this.items.slice(PAGE_ITEMS).filter((item) => source.running(item)).slice(0, REFRESHED_MAX);
    if (running.length === 0) return;
    const fresh = new Map();
    const load = async (item) => fresh.set(item.id, await source.refetch(item).catch(() => item));
    await Promise.all(running.map(load));
    this.items = this.items.map((item) => fresh.get(item.id) ?? item);
    this.draw();
  }

  // A filter or an order is about all items, the end of the table about the next ones.
  loadMore() {
    if (this.next !== null && document.documentElement.dataset.connection === "live") this.older();
  }

  async older() {
    if (this.loading || this.next === null || this.items.length >= ITEMS_MAX) return;
    this.loading = true;
    const button = byId("older");
    button.disabled = true;
    try {
      const all = this.isFiltered || this.sort !== null;
      const page = await this.source.fetch({ limit: all ? LOAD_ITEMS : PAGE_ITEMS, after: this.next });
      const known = new Set(this.items.map((item) => item.id));
      this.items.push(...page.items.filter((item) => !known.has(item.id)));
      this.next = page.next;
    } catch (error) {
      this.showError(error.status);
    }
    this.loading = false;
    button.disabled = false;
    this.draw();
  }

  textOf(item) {
    if (!this.texts.has(item)) this.texts.set(item, this.source.words(item).join("\n").toLowerCase());
    return this.texts.get(item);
  }

  /** Returns the items of the view, in its order. */
  shownItems() {
    const { kind, sort, source } = this;
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (item) => (kind === "" || source.kind(item) === kind) && words.every((word) => this.textOf(item).includes(word));
    const shown = words.length > 0 || kind !== "" ? this.items.filter(matches) : this.items;
    if (sort === null) return shown;
    const key = source.sortKeys[sort.column];
    const keyed = shown.map((item) => [key(item), item]);
    const sign = sort.down ? -1 : 1;
    return keyed.sort(([a], [b]) => (a < b ? -sign : a > b ? sign : 0)).map(([, item]) => item);
  }

  draw() {
    const { items, source } = this;
    const shown = this.shownItems();
    const running = items.filter((item) => source.running(item)).length;
    const complete = this.next === null;
    byId("empty").hidden = items.length > 0;
    this.table.hidden = shown.length === 0;
    byId("none").hidden = items.length === 0 || shown.length > 0;
    byId("none").textContent = complete ? `No ${source.noun}s match the filter.` : `No ${source.noun}s match the filter among the newest ${count(items.length)}; loading older ones…`;
    byId("older").hidden = complete || items.length >= ITEMS_MAX;
    const some = this.isFiltered ? `${count(shown.length)} of ` : "";
    byId("counts").textContent = items.length === 0 ? "" : `${count(running)} running · ${some}${count(items.length)}${complete ? "" : "+"} ${source.noun}s`;
    document.title = `${running > 0 ? `● ${running} running · ` : ""}${source.noun}s · tasktail`;
    setIcon(running > 0 ? "running" : "idle");
    this.rows.show(shown);
    if (!complete && (this.isFiltered || this.sort !== null)) setTimeout(() => this.older(), 0);
  }

  tick() {
    if (!document.hidden) this.rows.each((row) => this.source.tick(row));
  }
}

/** Creates a table row with cells of these classes, a state badge and a link to the item's page. */
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
