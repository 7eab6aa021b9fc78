// The difference between the logs of two tasks: the new lines, errors first, then the missing ones.

import { Access } from "../shared/access.js";
import { ApiError, fetchDiff } from "../shared/api.js";
import { byId, element } from "../shared/dom.js";
import { count, counted } from "../shared/format.js";
import { setIcon } from "../shared/icon.js";
import { at } from "../shared/root.js";

const LINES = 500;

/** The page of a difference. */
class DiffPage {
  constructor() {
    this.id = decodeURIComponent(location.pathname.split("/").at(-2));
    this.access = new Access(() => this.load());
    this.other = byId("with");
    this.other.value = new URLSearchParams(location.search).get("with") ?? "";
    byId("task").textContent = this.id;
    byId("task").href = linkTo(this.id, null);
    document.title = `${this.id} · difference · tasktail`;
    byId("find").addEventListener("submit", (event) => {
      event.preventDefault();
      this.load();
    });
    setIcon("idle");
    this.access.load();
    this.load();
  }

  async load() {
    const other = this.other.value.trim();
    history.replaceState(null, "", other === "" ? location.pathname : `${location.pathname}?${new URLSearchParams({ with: other })}`);
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    this.say("Comparing…");
    try {
      const diff = await fetchDiff(this.id, { with: other || null, limit: LINES }, abort.signal);
      if (this.abort === abort) this.show(diff);
    } catch (error) {
      if (error.name === "AbortError" || this.abort !== abort) return;
      if (error.status === 401) this.access.setLost(true);
      byId("found").replaceChildren();
      this.say(error instanceof ApiError ? error.message : "The connection broke.", true);
    }
  }

  show(diff) {
    const part = diff.truncated ? " The logs are too long to be compared as a whole; this covers a part of them." : "";
    this.say(`Compared with ${diff.with}: ${counted(diff.new_count, "new line")}, ${counted(diff.missing_count, "missing line")}.${part}`);
    const boxes = [
      box("New lines", diff.new, diff.new_count, diff.task),
      box("Missing lines", diff.missing, diff.missing_count, diff.with),
    ];
    byId("found").replaceChildren(...boxes.filter((found) => found !== null));
  }

  say(words, bad = false) {
    byId("find-state").textContent = words;
    byId("find-state").classList.toggle("bad", bad);
  }
}

const linkTo = (task, n) => at(`/tasks/${encodeURIComponent(task)}${n === null ? "" : `#L${n}`}`);

// A box with the lines of one side, or null if there are none.
function box(title, lines, total, task) {
  if (total === 0) return null;
  const found = element("section", "found diff");
  const head = element("h2", "", title);
  const shown = lines.length < total ? `the first ${count(lines.length)} of ${count(total)}` : counted(total, "line");
  head.append(element("span", "", shown));
  const list = element("ol", "");
  for (const line of lines) {
    const item = element("li", line.error ? "bad" : "");
    const link = element("a", "");
    link.href = linkTo(task, line.n);
    link.append(element("span", "n", count(line.n)), element("span", "what", line.line));
    if (line.count > 1) link.append(element("span", "times", `×${count(line.count)}`));
    item.append(link);
    list.append(item);
  }
  found.append(head, list);
  return found;
}

new DiffPage();
