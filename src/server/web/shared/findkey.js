// Ctrl+F: the browser finds only the rows that are drawn, so the first press leads to the search of the
// page, which searches everything. A second press there opens the browser's own.

import { say } from "./toast.js";

/** Leads the first Ctrl+F to `input`; `what` names what it searches. */
export function bindFindKey(input, what) {
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "f" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
    if (document.activeElement === input) return;
    event.preventDefault();
    input.select();
    say(`This searches ${what}. Press Ctrl+F again for the browser's own search, which finds only what is on the screen.`);
  });
}
