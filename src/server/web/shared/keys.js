// The keyboard: one table for each kind of log, shown by the help dialog as it is.

const MOVES = [
  ["g  G", "beginning, end"],
  ["f  End", "follow what is new"],
  ["j  k  ↓  ↑", "one line down, up"],
  ["Space  PgDn  PgUp", "one page"],
  ["t", "time: off, clock, since start, since the line before"],
  ["w", "wrap long lines"],
];

export const TASK_KEYS = [
  ["/", "search the whole log"],
  ["n  N", "next, previous hit"],
  ["e  E", "next, previous stderr or error-looking line"],
  ...MOVES,
  ["1  2  3", "stdout, stderr, internal on or off"],
  ["Esc", "leave search, drop the marked lines"],
  ["?", "this help"],
];

export const RUN_KEYS = [
  ["/", "filter the log stream"],
  ["e  E", "next, previous failure"],
  ["l", "summary (look-alikes are one row) or all"],
  ["x", "failures only"],
  ["p", "pause, go on"],
  ...MOVES,
  ["Enter", "the whole event as JSON"],
  ["Esc", "leave the filter, drop the marked rows"],
  ["?", "this help"],
];

/** Calls `actions[name]` for keys; `name` is the key itself, with Shift+Space as "PageUp". */
export function listenForKeys(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const { target } = event;
    if (target.closest?.("input, select, textarea, dialog[open]")) return;
    // A focused button or link keeps the keys that press it.
    if ((event.key === " " || event.key === "Enter") && target.closest?.("button, a, summary")) return;
    const key = event.key === " " ? (event.shiftKey ? "PageUp" : "PageDown") : event.key;
    const action = actions[key];
    if (!action) return;
    event.preventDefault();
    action(event);
  });
}

/** Fills the help dialog's list. */
export function fillHelp(list, table = TASK_KEYS) {
  for (const [keys, meaning] of table) {
    const term = document.createElement("dt");
    for (const key of keys.split("  ")) {
      const cap = document.createElement("kbd");
      cap.textContent = key;
      term.append(cap);
    }
    const words = document.createElement("dd");
    words.textContent = meaning;
    list.append(term, words);
  }
}
