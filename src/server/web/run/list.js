// The list of runs, those with the newest events first.

import { fetchRuns } from "../shared/api.js";
import { setText } from "../shared/dom.js";
import { kindOf, markOf } from "./events.js";
import { ago, count, dateTime, duration } from "../shared/format.js";
import { LiveList, makeRow } from "../shared/livelist.js";
import { at } from "../shared/root.js";

// The server's maximum for one response.
const RUNS_MAX = 1000;

const time = (text) => Date.parse(text ?? "");

function elapsed(run) {
  const started = time(run.started);
  const ended = time(run.ended);
  return Number.isNaN(started) ? "" : duration((Number.isNaN(ended) ? Date.now() : ended) - started);
}

function updated(run) {
  const at = time(run.updated);
  return Number.isNaN(at) ? "" : ago(Math.max(0, Date.now() - at));
}

function fill(row) {
  const { item: run } = row;
  const mark = markOf(run.status);
  row.badge.className = `badge ${kindOf(mark)}`;
  row.element.dataset.state = run.status;
  setText(row.badge, `${mark} ${run.status}`);
  setText(row.events, count(run.events));
  setText(row.failures, run.failures > 0 ? count(run.failures) : "");
  setText(row.started, Number.isNaN(time(run.started)) ? "" : dateTime(time(run.started)));
  tick(row);
}

function tick({ item: run, updated: cell, duration: length }) {
  setText(cell, updated(run));
  cell.title = Number.isNaN(time(run.updated)) ? "" : dateTime(time(run.updated));
  setText(length, elapsed(run));
}

new LiveList({
  noun: "run",
  table: "runs",
  fetch: async () => ({ items: (await fetchRuns({ limit: RUNS_MAX })).runs, next: null }),
  created: (run) => run.updated ?? "",
  running: (run) => run.status === "running" || run.status === "blocked",
  words: (run) => [run.id, run.status],
  make: (run) => makeRow(run.id, at(`/runs/${encodeURIComponent(run.id)}`), ["state", "id", "events right", "failures right", "started", "updated", "duration right"]),
  fill,
  tick,
}).start();
