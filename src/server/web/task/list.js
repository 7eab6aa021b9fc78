// The list of tasks.

import { exactId, fetchTasks } from "../shared/api.js";
import { setText } from "../shared/dom.js";
import { bytes, commandLine, count, dateTime, duration, elapsed, keptLines, lossSummary, verdict } from "../shared/format.js";
import { LiveList, makeRow } from "../shared/livelist.js";

const labelsOf = (task, joint) => Object.entries(task.labels ?? {}).map(([key, value]) => (value === "" ? key : `${key}${joint}${value}`));

function fill(row) {
  const { item: task } = row;
  const { kind, mark, words } = verdict(task);
  row.badge.className = `badge ${kind}`;
  row.element.dataset.state = kind;
  setText(row.badge, `${mark} ${words}`);
  const [link, exact] = [row.id.firstChild, exactId(task)];
  if (link.textContent !== exact) {
    link.textContent = link.title = exact;
    link.href = `/tasks/${encodeURIComponent(exact)}`;
  }
  const command = commandLine(task.command);
  setText(row.code, command);
  row.code.title = command;
  const wanted = labelsOf(task, ": ");
  if (row.labels.dataset.of !== wanted.join("\n")) {
    row.labels.dataset.of = wanted.join("\n");
    row.labels.replaceChildren(...wanted.map((text) => Object.assign(document.createElement("span"), { className: "chip", textContent: text })));
  }
  setText(row.started, dateTime(Date.parse(task.started ?? task.created)));
  setText(row.duration, duration(elapsed(task, Date.now())));
  const loss = lossSummary(task);
  setText(row.lines, loss === null ? count(keptLines(task)) : `⚠ ${loss}`);
  row.lines.classList.toggle("loss", loss !== null);
  row.lines.title = [loss === null ? "" : "Lines are missing or differ from what the worker sent", bytes(task.bytes)].filter(Boolean).join(", ");
}

new LiveList({
  noun: "task",
  table: "tasks",
  fetch: async (parameters) => {
    const { tasks, next } = await fetchTasks(parameters);
    return { items: tasks, next };
  },
  created: (task) => task.created,
  running: (task) => task.status === "running",
  words: (task) => [task.id, task.complete === false ? "incomplete" : "", verdict(task).words, task.status, task.host ?? "", commandLine(task.command), ...labelsOf(task, ":")],
  make: (task) => {
    const row = makeRow(task.id, `/tasks/${encodeURIComponent(task.id)}`, ["state", "id", "command", "labels", "started", "duration right", "lines right"]);
    row.code = document.createElement("code");
    row.command.append(row.code);
    return row;
  },
  fill,
  tick: (row) => row.item.status === "running" && setText(row.duration, duration(elapsed(row.item, Date.now()))),
}).start();
