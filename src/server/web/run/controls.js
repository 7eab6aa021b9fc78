// The controls of the run page: buttons, keys, the filter and the rows.

import { bindLog, bindView, scrollKeys, showTimeMode } from "../shared/controls.js";
import { byId } from "../shared/dom.js";
import { listenForKeys } from "../shared/keys.js";

const TYPING_PAUSE_MS = 100;

/** Binds all controls to the page. */
export function bindRunControls(page) {
  bindView(page);
  bindFilter(page);
  bindLog(page, rowsAsText);
  showTimeMode(page);
  byId("mode").addEventListener("click", () => page.show({ summary: !page.log.summary }));
  byId("failures").addEventListener("click", () => page.show({ failuresOnly: !page.log.failuresOnly }));
  byId("link").addEventListener("click", () => page.feed.retryNow());
  page.viewport.addEventListener("dblclick", (event) => showEvent(page, event.target.closest(".row[data-n]")));
  addEventListener("hashchange", () => page.goToLink());
  bindKeys(page);
}

function bindFilter(page) {
  const input = byId("query");
  let timer = null;
  const applyFilter = () => {
    clearTimeout(timer);
    timer = null;
    page.show({ words: input.value.toLowerCase().split(/\s+/).filter(Boolean) });
  };
  const focusLog = () => page.viewport.focus({ preventScroll: true });
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(applyFilter, TYPING_PAUSE_MS);
  });
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    if (timer !== null) applyFilter();
    focusLog();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    input.value = "";
    applyFilter();
    focusLog();
  });
}

function bindKeys(page) {
  const { scroller } = page;
  listenForKeys({
    ...scrollKeys(page),
    "/": () => byId("query").select(),
    e: () => page.goToFailure(true),
    E: () => page.goToFailure(false),
    l: () => byId("mode").click(),
    L: () => byId("mode").click(),
    x: () => byId("failures").click(),
    p: () => scroller.follow(!scroller.following),
    Enter: () => showEvent(page, page.viewport.querySelector(".row.current, .row.marked")),
    Escape: () => page.clearMarks(),
  });
}

// Shows the stored event as formatted JSON.
function showEvent(page, row) {
  const item = row && page.scroller.rows.get(Number(row.dataset.n))?.item;
  if (!item?.line) return;
  byId("event-title").textContent = `Event ${item.last ?? item.n}`;
  byId("event-json").textContent = JSON.stringify(JSON.parse(item.line), null, 2);
  byId("event").showModal();
}

// Returns each row as a line of its cells, without the number.
function rowsAsText(rows) {
  const line = (row) => [...row.children].filter((cell) => !cell.classList.contains("num")).map((cell) => cell.textContent);
  return [...rows].map((row) => line(row).filter((text) => text !== "").join(" ")).join("\n");
}
