// Printing: Ctrl+P prints the whole log. Printing from the browser's menu, which does not wait for a load,
// prints the rows on the screen and a note.

import { byId, element } from "../shared/dom.js";
import { bytes } from "../shared/format.js";
import { LogCopy } from "../shared/logcopy.js";
import { say } from "../shared/toast.js";

/** The most text that is printed; larger logs are downloaded instead. */
const PRINT_CHARS_MAX = 2_000_000;
const TOO_LARGE = `This log has more than ${bytes(PRINT_CHARS_MAX)}, too much to print. Download the text and print a part of it.`;

/** Binds printing to the page of a task. */
export function bindPrint(page) {
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "p" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
    event.preventDefault();
    printAll(page);
  });
  addEventListener("beforeprint", () => {
    if (document.querySelector(".print-log")) return;
    const rows = [...page.viewport.querySelectorAll(".row > .text")].map((cell) => cell.textContent);
    show(`${rows.join("\n")}\n\nThese are the lines that were on the screen. Ctrl+P on the page prints the whole log; as text it is at\n${byId("get-text").href}\n`);
  });
  addEventListener("afterprint", () => document.querySelector(".print-log")?.remove());
}

async function printAll(page) {
  if (page.header.bytes > PRINT_CHARS_MAX) return say(TOO_LARGE);
  const copy = new LogCopy(page.id, () => page.streamFilter()?.split(",") ?? null, PRINT_CHARS_MAX);
  try {
    show(await copy.load());
  } catch (error) {
    return say(error.tooLarge ? TOO_LARGE : `Not printed: ${error.message}.`);
  }
  return globalThis.print();
}

function show(text) {
  document.querySelector(".print-log")?.remove();
  document.body.append(element("pre", "print-log", text));
}
