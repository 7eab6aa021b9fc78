// The controls of the task page: buttons, keys, the search box and the log.

import { byId } from "./dom.js";
import { bindFindKey } from "./findkey.js";
import { listenForKeys } from "./keys.js";
import { TIME_MODES } from "./rows.js";
import { nextError, previousError } from "./search.js";

const TYPING_PAUSE_MS = 150;
const TIME_LABELS = { off: "time: off", clock: "time: clock", start: "time: since start", delta: "time: delta" };

/** Binds all controls to the page. */
export function bindControls(page) {
  bindButtons(page);
  bindSearch(page);
  bindLog(page);
  bindKeys(page);
  bindSelectAll(page);
  addEventListener("hashchange", () => page.hashChanged());
}

function bindButtons(page) {
  for (const button of document.querySelectorAll(".channel")) {
    button.addEventListener("click", () => page.toggleChannel(button.dataset.stream));
  }
  bindView(page);
  byId("link").addEventListener("click", () => page.socket.retryNow());
  byId("next-hit").addEventListener("click", () => toNextHit(page));
  byId("previous-hit").addEventListener("click", () => toPreviousHit(page));
  bindFindKey(byId("query"), "the whole log");
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

/** Binds the buttons of every log: time, wrap, follow, the pill, help. */
export function bindView(page) {
  byId("time").addEventListener("click", () => nextTimeMode(page));
  byId("wrap").addEventListener("click", () => page.toggleWrap());
  byId("follow").addEventListener("click", () => page.scroller.follow(!page.scroller.following));
  // The pill lies over the log, and the wheel is for the log.
  byId("pill").addEventListener("wheel", (event) => page.scroller.wheelOver(event), { passive: false });
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
  page.viewChanged?.();
}

/** Shows the current time mode. */
export function showTimeMode(page) {
  byId("time").textContent = TIME_LABELS[page.builder.timeMode];
  page.viewport.dataset.time = page.builder.timeMode;
}

function bindSearch(page) {
  const input = byId("query");
  const regex = byId("regex");
  let timer = null;
  const startSearch = () => {
    clearTimeout(timer);
    timer = null;
    page.search.start(input.value, regex.getAttribute("aria-pressed") === "true", page.streamFilter() ?? undefined);
    page.viewChanged();
  };
  // Only shown channels are searched.
  page.restartSearch = () => page.search.text !== "" && startSearch();
  page.setQuery = (text, isRegex) => {
    input.value = text;
    regex.setAttribute("aria-pressed", String(isRegex));
    startSearch();
  };
  const submit = (toHit) => {
    if (timer !== null || page.search.text !== input.value) startSearch();
    toHit(page);
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(startSearch, TYPING_PAUSE_MS);
  });
  regex.addEventListener("click", () => {
    regex.setAttribute("aria-pressed", String(regex.getAttribute("aria-pressed") !== "true"));
    startSearch();
  });
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    submit(toNextHit);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.shiftKey) {
      event.preventDefault();
      submit(toPreviousHit);
    }
    if (event.key === "Escape") {
      event.preventDefault();
      input.value = "";
      startSearch();
      page.viewport.focus({ preventScroll: true });
    }
  });
}

// At the end of the log, the next hit is the first one.
const toNextHit = (page) => goToHit(page, page.search.findNext(page.here() > page.store.last ? 0 : page.here()));
const toPreviousHit = (page) => goToHit(page, page.search.findPrevious(page.here()));

// Goes to a hit when it is found, unless the user moved on in the meantime.
async function goToHit(page, finding) {
  const { anchor, following } = page.scroller;
  const asked = (page.hitsAsked = (page.hitsAsked ?? 0) + 1);
  const n = await finding;
  const moved = page.scroller.following !== following || (!following && page.scroller.anchor.n !== anchor.n);
  if (asked === page.hitsAsked && !moved) page.goTo(n);
}

/** Binds the log: clicks on numbers, selection, and copying with `copyText(rows)`. */
export function bindLog(page, copyText = linesOf) {
  const { viewport, scroller } = page;
  viewport.addEventListener("click", (event) => {
    const fold = event.target.closest(".frames");
    if (fold) page.setFolded(Number(fold.dataset.n), fold.getAttribute("aria-expanded") === "true");
    const section = event.target.closest(".section-fold");
    if (section) page.toggleSection(Number(section.dataset.n));
    const number = event.target.closest(".num");
    if (!number) return;
    event.preventDefault();
    page.clickNumber(Number(number.dataset.n), event.shiftKey);
  });
  // By default, Shift+click would select the text between the two numbers.
  viewport.addEventListener("mousedown", (event) => {
    if (event.shiftKey && event.target.closest(".num")) event.preventDefault();
  });
  document.addEventListener("selectionchange", () => {
    const selection = document.getSelection();
    const inLog = !selection.isCollapsed && viewport.contains(selection.anchorNode);
    if (inLog && scroller.following) scroller.follow(false);
  });
  document.addEventListener("copy", (event) => {
    if (!page.copyBeyond?.(event)) copy(event, viewport, copyText);
  });
}

function copy(event, viewport, copyText) {
  const selection = document.getSelection();
  if (selection.isCollapsed || !viewport.contains(selection.anchorNode)) return;
  const rows = selection.getRangeAt(0).cloneContents().querySelectorAll(".row:not(.fold)");
  rows.forEach((row) => row.querySelectorAll(".more, .frames, .section-fold, .section-facts").forEach((button) => button.remove()));
  if (rows.length === 0) return;
  event.clipboardData.setData("text/plain", copyText(rows));
  event.preventDefault();
}

// Ctrl+A selects the whole log, not only the rows that are drawn, and Esc or a click ends that.
function bindSelectAll(page) {
  const end = () => page.selectAll(false);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea, dialog[open]");
    if (event.key === "Escape" && !typing) end();
    if (typing || event.altKey || event.shiftKey || !(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "a") return;
    event.preventDefault();
    page.selectAll(true);
  });
  document.addEventListener("mousedown", end);
}

// Joins the rows, which are separate blocks, into the lines as written.
function linesOf(rows) {
  let text = "";
  rows.forEach((row, index) => {
    text += row.querySelector(".text")?.textContent ?? "";
    if (index < rows.length - 1 && !row.classList.contains("partial") && !row.classList.contains("gap")) text += "\n";
  });
  return text;
}

/** Returns the key bindings of every log. */
export function scrollKeys(page) {
  const { scroller } = page;
  const down = () => scroller.moveByRows(1);
  const up = () => scroller.moveByRows(-1);
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
  // Wraps around, as search does.
  const toError = async (find, wrapped) => {
    const search = (from) => find(page.id, from, page.streamFilter() ?? undefined).catch(() => null);
    page.goTo((await search(page.here())) ?? (await search(wrapped)));
  };
  const { problems } = page;
  const known = () => problems.errors.length > 0;
  const nextProblem = () => {
    const next = problems.nextError(page.here());
    if (next === null && problems.truncated) return toError(nextError, 0);
    return page.goTo(next ?? problems.nextError(0));
  };
  const previousProblem = () => page.goTo(problems.previousError(page.here()) ?? problems.previousError(Infinity));
  const channel = (index) => document.querySelectorAll(".channel")[index].click();
  listenForKeys({
    ...scrollKeys(page),
    "/": () => byId("query").select(),
    n: () => toNextHit(page),
    N: () => toPreviousHit(page),
    e: () => (known() ? nextProblem() : toError(nextError, 0)),
    E: () => (known() ? previousProblem() : toError(previousError, page.store.last + 1)),
    p: () => problems.toggle(),
    o: () => page.toggleSection(page.view.around(Math.min(page.here(), page.store.last))?.from),
    O: () => page.toggleAllSections(),
    r: () => page.replay.toggle(),
    "<": () => page.replay.changeSpeed(-1),
    ">": () => page.replay.changeSpeed(1),
    1: () => channel(0),
    2: () => channel(1),
    3: () => channel(2),
    Escape: () => (page.replay.active ? page.replay.end() : page.clearMarks()),
    PageDown: (event) => (event.key === " " && page.replay.active ? page.replay.play(!page.replay.playing) : page.scroller.moveByPages(1)),
  });
}
