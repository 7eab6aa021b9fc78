// The last line of each task on the screen of the list, loaded a few at a time.

import { exactId, fetchLines } from "../shared/api.js";
import { plainText } from "../shared/ansi.js";

const AT_ONCE_MAX = 4;
const WAITING_MAX = 100;
const KEPT_MAX = 1000;
// A running task's line is loaded at most this often.
const FRESH_MS = 4000;
// The last lines may be messages of tasktail itself.
const LINES = 5;
const SHOWN_CHARS_MAX = 300;

/** The last lines of tasks. */
export class LastLines {
  /** `changed(id, text)` is called when a line is loaded. */
  constructor(changed) {
    this.changed = changed;
    this.known = new Map();
    this.waiting = new Map();
    this.busy = 0;
  }

  /** Returns the last line of a task as far as it is known, and loads it if it is not or may be older. */
  of(task) {
    const kept = this.known.get(task.id);
    const old = !kept || (kept.last !== task.last_line && performance.now() - kept.at >= FRESH_MS);
    if (task.last_line > 0 && old && this.waiting.size < WAITING_MAX) {
      this.waiting.set(task.id, task);
      this.run();
    }
    return kept?.text ?? "";
  }

  run() {
    while (this.busy < AT_ONCE_MAX && this.waiting.size > 0) {
      const [[id, task]] = this.waiting;
      this.waiting.delete(id);
      this.busy += 1;
      this.load(task).finally(() => {
        this.busy -= 1;
        this.run();
      });
    }
  }

  async load(task) {
    const from = Math.max(task.first_line, task.last_line - LINES + 1);
    const response = await fetchLines(exactId(task), { from, limit: LINES }).catch(() => null);
    const line = response?.lines.findLast(({ stream, line: text }) => stream !== "internal" && text.trim() !== "");
    const text = line ? plainText(line.line).trim().slice(0, SHOWN_CHARS_MAX) : "";
    this.known.delete(task.id);
    this.known.set(task.id, { last: task.last_line, text, at: performance.now() });
    if (this.known.size > KEPT_MAX) this.known.delete(this.known.keys().next().value);
    this.changed(task.id, text);
  }
}
