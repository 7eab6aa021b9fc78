// What a person can press on the page of a run: buttons, keys, the filter, the rows.

import { bindLog, bindView, moves, showTimeMode } from "../shared/controls.js";
import { byId } from "../shared/dom.js";
import { listenForKeys } from "../shared/keys.js";

const TYPING_PAUSE_MS = 100;

/** Binds everything to the page once. */
export function bindRunControls(page) {
  bindView(page);
  bindFilter(page);
  bindLog(page, rowsAsText);
  showTimeMode(page);
  byId("mode").addEventListener("click", () => page.show({ summary: !page.log.summary }));
  byId("failures").addEventListener("click", () => page.show({ failuresOnly: !page.log.failuresOnly }));
  byId("link").addEventListener("click", () => page.feed.retryNow());
  page.viewport.addEventListener("dblclick", (event) => open(page, event.target.closest(".row[data-n]")));
  addEventListener("hashchange", () => page.goToLink());
  bindKeys(page);
}

function bindFilter(page) {
  const input = byId("query");
  let timer = null;
  const begin = () => {
    clearTimeout(timer);
    timer = null;
    page.show({ words: input.value.toLowerCase().split(/\s+/).filter(Boolean) });
  };
  const leave = () => page.viewport.focus({ preventScroll: true });
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(begin, TYPING_PAUSE_MS);
  });
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    if (timer !== null) begin();
    leave();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    input.value = "";
    begin();
    leave();
  });
}

function bindKeys(page) {
  const { scroller } = page;
  listenForKeys({
    ...moves(page),
    "/": () => byId("query").select(),
    e: () => page.toFailure(true),
    E: () => page.toFailure(false),
    l: () => byId("mode").click(),
    L: () => byId("mode").click(),
    x: () => byId("failures").click(),
    p: () => scroller.follow(!scroller.following),
    Enter: () => open(page, page.viewport.querySelector(".row.current, .row.marked")),
    Escape: () => page.dropMarks(),
  });
}

// The event as it is stored, put out field by field.
function open(page, row) {
  const item = row && page.scroller.rows.get(Number(row.dataset.n))?.item;
  if (!item?.line) return;
  byId("event-title").textContent = `Event ${item.last ?? item.n}`;
  byId("event-json").textContent = JSON.stringify(JSON.parse(item.line), null, 2);
  byId("event").showModal();
}

// Each row as a line with what stands in it, but for its number.
function rowsAsText(rows) {
  const line = (row) => [...row.children].filter((cell) => !cell.classList.contains("num")).map((cell) => cell.textContent);
  return [...rows].map((row) => line(row).filter((text) => text !== "").join(" ")).join("\n");
}
