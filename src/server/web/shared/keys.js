// Keyboard shortcuts: one table per kind of log, shown unchanged in the help dialog.

const MOVES = [
  ["g  G", "go to the start, end"],
  ["f  End", "follow new output"],
  ["j  k  ↓  ↑", "scroll one line down, up"],
  ["Space  PgDn  PgUp", "scroll one page"],
  ["t", "time column: off, clock, since start, since previous line"],
  ["w", "wrap long lines"],
];

export const TASK_KEYS = [
  ["/", "search the whole log"],
  ["n  N", "next, previous match"],
  ["e  E", "next, previous error or, if none is known, stderr line"],
  ["p", "open or close the list of problems; j and k move in it"],
  ["o  O", "fold or unfold the section, all sections"],
  ["r", "replay a finished task; Space pauses, < and > change the speed"],
  ...MOVES,
  ["Ctrl+P", "print the whole log"],
  ["Ctrl+A  Ctrl+C", "copy the whole log"],
  ["Ctrl+C", "copy the marked lines"],
  ["1  2  3", "show or hide stdout, stderr, internal"],
  ["Esc", "clear the search or the marked lines"],
  ["?", "show this help"],
];

export const RUN_KEYS = [
  ["/", "filter the log stream"],
  ["e  E", "next, previous failure"],
  ["l", "summary (merge similar events) or all events"],
  ["x", "show only failures"],
  ["p", "pause, resume"],
  ...MOVES,
  ["Enter", "show the event as JSON"],
  ["Esc", "clear the filter or the marked rows"],
  ["?", "show this help"],
];

/** Calls `actions[key]` on key presses; Space is "PageDown" and Shift+Space "PageUp". */
export function listenForKeys(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const { target } = event;
    if (target.closest?.("input, select, textarea, dialog[open]")) return;
    // Space and Enter activate a focused button or link.
    if ((event.key === " " || event.key === "Enter") && target.closest?.("button, a, summary")) return;
    const key = event.key === " " ? (event.shiftKey ? "PageUp" : "PageDown") : event.key;
    const action = actions[key];
    if (!action) return;
    event.preventDefault();
    action(event);
  });
}

/** Fills the help dialog with the shortcuts of a table. */
export function fillHelp(list, table = TASK_KEYS) {
  for (const [keys, meaning] of table) {
    const term = document.createElement("dt");
    for (const key of keys.split("  ")) {
      const cap = document.createElement("kbd");
      cap.textContent = key;
      term.append(cap);
    }
    const description = document.createElement("dd");
    description.textContent = meaning;
    list.append(term, description);
  }
}
