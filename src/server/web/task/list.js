// The list of tasks.

import { exactId, fetchTask, fetchTasks } from "../shared/api.js";
import { byId, setText } from "../shared/dom.js";
import { ago, bytes, commandLine, count, counted, dateTime, duration, elapsed, keptLines, lossSummary, verdict } from "../shared/format.js";
import { LiveList, makeRow } from "../shared/livelist.js";
import { at } from "../shared/root.js";
import { LastLines } from "./lastline.js";

const COLUMNS = ["state", "id", "command", "last-line", "labels", "started", "duration right", "errors right", "lines right"];
// The states to filter by.
const KINDS = { running: "running", ok: "passed", failed: "failed", aborted: "failed", lost: "failed" };
const ORDER = { failed: 5, lost: 4, aborted: 3, running: 2, ok: 1 };

const labelsOf = (task, joint) => Object.entries(task.labels ?? {}).map(([key, value]) => (value === "" ? key : `${key}${joint}${value}`));
const startOf = (task) => Date.parse(task.started ?? task.created);

const lastLines = new LastLines((id, text) => {
  const row = list.rows.rows.get(id);
  if (row) showLastLine(row, text);
});

function showLastLine(row, text) {
  setText(row["last-line"], text);
  row["last-line"].title = text;
}

/** Shows how many errors an ended log has, and after a plus its warnings. */
function showCounts(cell, { errors = null, warnings }) {
  setText(cell, errors === null ? "" : `${count(errors)}${warnings > 0 ? ` + ${count(warnings)}` : ""}`);
  cell.classList.toggle("some", errors > 0);
  cell.title = errors === null ? "" : `${counted(errors, "error")}, ${counted(warnings ?? 0, "warning")}`;
}

function fill(row) {
  const { item: task } = row;
  const { kind, mark, words } = verdict(task);
  row.badge.className = `badge ${kind}`;
  row.element.dataset.state = kind;
  setText(row.badge, `${mark} ${words}`);
  const [link, exact] = [row.id.firstChild, exactId(task)];
  if (link.textContent !== exact) {
    link.textContent = link.title = exact;
    link.href = at(`/tasks/${encodeURIComponent(exact)}`);
  }
  const command = commandLine(task.command);
  setText(row.code, command);
  row.code.title = command;
  const wanted = labelsOf(task, ": ");
  if (row.labels.dataset.of !== wanted.join("\n")) {
    row.labels.dataset.of = wanted.join("\n");
    row.labels.title = wanted.join("\n");
    row.labels.replaceChildren(...wanted.map((text) => Object.assign(document.createElement("span"), { className: "chip", textContent: text })));
  }
  const loss = lossSummary(task);
  setText(row.lines, loss === null ? count(keptLines(task)) : `⚠ ${loss}`);
  row.lines.classList.toggle("loss", loss !== null);
  row.lines.title = [loss === null ? "" : "Lines are missing or differ from what the worker sent", bytes(task.bytes)].filter(Boolean).join(", ");
  showCounts(row.errors, task);
  if (row["last-line"].offsetWidth > 0 || row.fresh) showLastLine(row, lastLines.of(task));
  row.fresh = false;
  tick(row);
}

function tick(row) {
  const { item: task, started } = row;
  const at = startOf(task);
  setText(started, Number.isNaN(at) ? "" : ago(Math.max(0, Date.now() - at)));
  started.title = dateTime(at);
  setText(row.duration, duration(elapsed(task, Date.now())));
}

const list = new LiveList({
  noun: "task",
  table: "tasks",
  fetch: async (parameters) => {
    const { tasks, next } = await fetchTasks(parameters);
    return { items: tasks, next };
  },
  refetch: (task) => fetchTask(exactId(task)),
  created: (task) => task.created,
  running: (task) => task.status === "running",
  kind: (task) => KINDS[verdict(task).kind],
  words: (task) => {
    const { kind, words } = verdict(task);
    return [task.id, task.complete === false ? "incomplete" : "", kind, KINDS[kind], words, task.status, task.host ?? "", commandLine(task.command), ...labelsOf(task, ":"), ...labelsOf(task, "=")];
  },
  sortKeys: {
    state: (task) => ORDER[verdict(task).kind],
    task: (task) => task.id,
    started: startOf,
    duration: (task) => elapsed(task, Date.now()),
    errors: (task) => (task.errors ?? -1) + (task.warnings ?? 0) / 1e9,
    lines: keptLines,
  },
  make: (task) => {
    const row = makeRow(task.id, at(`/tasks/${encodeURIComponent(task.id)}`), COLUMNS);
    row.code = document.createElement("code");
    row.command.append(row.code);
    row.fresh = matchMedia("(min-width: 821px)").matches;
    return row;
  },
  fill,
  tick,
});

// A command on another machine has to be given the address of this server.
if (!/^(localhost|127\.|\[::1\])/.test(location.hostname)) {
  for (const code of document.querySelectorAll("#empty pre code")) setText(code, code.textContent.replace(/tasktail (\w+)/, `tasktail $1 --url ${location.origin}`));
}
byId("announcement").textContent = "";
list.start();
