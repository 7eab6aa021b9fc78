// What a person can press on the page of a task: buttons, keys, the search box, the log itself.

import { byId } from "./dom.js";
import { listenForKeys } from "./keys.js";
import { TIME_MODES } from "./rows.js";
import { nextError, previousError } from "./search.js";

const TYPING_PAUSE_MS = 150;
const TIME_WORDS = { off: "time: off", clock: "time: clock", start: "time: since start", delta: "time: delta" };

/** Binds everything to the page once. */
export function bindControls(page) {
  bindButtons(page);
  bindSearch(page);
  bindLog(page);
  bindKeys(page);
  addEventListener("hashchange", () => page.hashChanged());
}

function bindButtons(page) {
  for (const button of document.querySelectorAll(".channel")) {
    button.addEventListener("click", () => page.toggleChannel(button.dataset.stream));
  }
  bindView(page);
  byId("link").addEventListener("click", () => page.socket.retryNow());
  const menu = byId("download");
  document.addEventListener("click", (event) => {
    if (menu.open && !event.target.closest("#download summary")) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

/** The buttons that every log has: time, wrap, follow, the pill, the help. */
export function bindView(page) {
  byId("time").addEventListener("click", () => nextTimeMode(page));
  byId("wrap").addEventListener("click", () => page.toggleWrap());
  byId("follow").addEventListener("click", () => page.scroller.follow(!page.scroller.following));
  byId("pill").addEventListener("click", () => {
    page.scroller.follow(true);
    page.viewport.focus({ preventScroll: true });
  });
  byId("help-open").addEventListener("click", () => byId("help").showModal());
}

function nextTimeMode(page) {
  const mode = TIME_MODES[(TIME_MODES.indexOf(page.builder.timeMode) + 1) % TIME_MODES.length];
  page.builder.timeMode = mode;
  showTimeMode(page);
  page.scroller.rebuild();
}

/** Says which time column there is. */
export function showTimeMode(page) {
  byId("time").textContent = TIME_WORDS[page.builder.timeMode];
  page.viewport.dataset.time = page.builder.timeMode;
}

function bindSearch(page) {
  const input = byId("query");
  let timer = null;
  // Hits are among the channels that are shown.
  page.searchAgain = () => page.search.text !== "" && begin();
  const begin = async () => {
    clearTimeout(timer);
    timer = null;
    await page.search.start(input.value, byId("regex").getAttribute("aria-pressed") === "true", page.streamWords() ?? undefined);
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(begin, TYPING_PAUSE_MS);
  });
  byId("regex").addEventListener("click", (event) => {
    const button = event.currentTarget;
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    begin();
  });
  byId("search").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (timer !== null || page.search.text !== input.value) await begin();
    page.goTo(page.search.next(page.here()));
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.shiftKey) {
      event.preventDefault();
      page.goTo(page.search.previous(page.here()));
    }
    if (event.key === "Escape") {
      event.preventDefault();
      input.value = "";
      begin();
      page.viewport.focus({ preventScroll: true });
    }
  });
}

/** The log itself: clicks on numbers, selecting, and copying by `copyText(rows)`. */
export function bindLog(page, copyText = linesOf) {
  const { viewport, scroller } = page;
  viewport.addEventListener("click", (event) => {
    const number = event.target.closest(".num");
    if (!number) return;
    event.preventDefault();
    page.clickNumber(Number(number.dataset.n), event.shiftKey);
  });
  // Shift-click would select text between the two numbers.
  viewport.addEventListener("mousedown", (event) => {
    if (event.shiftKey && event.target.closest(".num")) event.preventDefault();
  });
  document.addEventListener("selectionchange", () => {
    const selection = document.getSelection();
    const inLog = !selection.isCollapsed && viewport.contains(selection.anchorNode);
    if (inLog && scroller.following) scroller.follow(false);
  });
  document.addEventListener("copy", (event) => copy(event, viewport, copyText));
}

function copy(event, viewport, copyText) {
  const selection = document.getSelection();
  if (selection.isCollapsed || !viewport.contains(selection.anchorNode)) return;
  const rows = selection.getRangeAt(0).cloneContents().querySelectorAll(".row");
  rows.forEach((row) => row.querySelector(".more")?.remove());
  if (rows.length === 0) return;
  event.clipboardData.setData("text/plain", copyText(rows));
  event.preventDefault();
}

// Rows are separate blocks; put together again they are the lines as they were written.
function linesOf(rows) {
  let text = "";
  rows.forEach((row, index) => {
    text += row.querySelector(".text")?.textContent ?? "";
    if (index < rows.length - 1 && !row.classList.contains("partial") && !row.classList.contains("gap")) text += "\n";
  });
  return text;
}

/** The keys that every log has. */
export function moves(page) {
  const { scroller } = page;
  const down = () => scroller.moveBy(scroller.rowHeight);
  const up = () => scroller.moveBy(-scroller.rowHeight);
  return {
    g: () => scroller.toStart(),
    Home: () => scroller.toStart(),
    G: () => scroller.follow(true),
    f: () => scroller.follow(true),
    End: () => scroller.follow(true),
    j: down,
    ArrowDown: down,
    k: up,
    ArrowUp: up,
    PageDown: () => scroller.moveByPages(1),
    PageUp: () => scroller.moveByPages(-1),
    t: () => nextTimeMode(page),
    w: () => page.toggleWrap(),
    "?": () => byId("help").showModal(),
  };
}

function bindKeys(page) {
  // Past the last one comes the first again, as with search.
  const toError = async (find, wrapped) => {
    const look = (from) => find(page.id, from, page.streamWords() ?? undefined).catch(() => null);
    page.goTo((await look(page.here())) ?? (await look(wrapped)));
  };
  const channel = (index) => document.querySelectorAll(".channel")[index].click();
  listenForKeys({
    ...moves(page),
    "/": () => byId("query").select(),
    n: () => page.goTo(page.search.next(page.here())),
    N: () => page.goTo(page.search.previous(page.here())),
    e: () => toError(nextError, 0),
    E: () => toError(previousError, page.store.last + 1),
    1: () => channel(0),
    2: () => channel(1),
    3: () => channel(2),
    Escape: () => page.dropMarks(),
  });
}
