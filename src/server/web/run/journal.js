// The Run Journal: one row for each workload on each host, steps of a pipeline, gates not passed.

import { plainText } from "../shared/ansi.js";
import { byId, element, setText } from "../shared/dom.js";
import { clock, count, dateTime } from "../shared/format.js";
import { kindOf, markOf } from "./events.js";

// What goes wrong or goes on is shown first where there are more.
const ROWS_MAX = 300;
const ENDS = new Set(["done", "failed", "skipped"]);

/** All repetitions of a workload on a host as one row, in the order of their first events. */
export function rowsOf(repetitions) {
  const groups = new Map();
  for (const item of repetitions) {
    const key = JSON.stringify([item.host, item.workload]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(item);
  }
  return [...groups].map(([key, items]) => rowOf(key, items));
}

function rowOf(key, items) {
  const byNumber = (a, b) => a.repetition - b.repetition;
  const ended = items.filter((item) => ENDS.has(item.status)).sort(byNumber);
  const latest = items.filter((item) => item.status !== "pending").sort(byNumber).at(-1);
  const total = Math.max(0, ...items.map((item) => item.total_repetitions ?? 0));
  return {
    key, host: items[0].host, workload: items[0].workload, total, ended: ended.length, status: statusOf(items, total),
    current: Math.max(latest?.repetition ?? 0, ended.length),
    action: latest?.action ?? "", error: items.findLast((item) => item.error != null)?.error ?? "",
    last: ended.at(-1)?.duration_s ?? null, failed: ended.filter((item) => item.status === "failed").length,
  };
}

function statusOf(items, total) {
  const has = (status) => items.some((item) => item.status === status);
  const open = has("running") || has("pending") || items.length < total;
  const begun = has("running") || has("done") || has("failed") || has("skipped");
  if (open) return begun ? "running" : "pending";
  if (has("failed")) return "failed";
  if (has("done")) return has("skipped") ? "partial" : "done";
  return has("skipped") ? "skipped" : "pending";
}

/** "12.3s", "2m03s". */
export function seconds(s) {
  if (s === null || s === undefined) return "";
  if (s < 99.95) return `${s.toFixed(1)}s`;
  const whole = Math.round(s);
  const minutes = Math.floor(whole / 60);
  const rest = String(whole % 60).padStart(2, "0");
  return minutes < 60 ? `${minutes}m${rest}s` : `${Math.floor(minutes / 60)}h${String(minutes % 60).padStart(2, "0")}m`;
}

export class RunJournal {
  constructor() {
    this.repetitions = new KeyedRows(byId("repetitions"), makeRepetition, fillRepetition);
    this.steps = new KeyedRows(byId("steps"), makeStep, fillStep);
  }

  draw(run) {
    const rows = rowsOf(run.journal);
    const steps = run.steps.map((step) => ({ ...step, key: step.step_id, status: step.state }));
    this.repetitions.draw(rows);
    this.steps.draw(steps);
    const gates = byId("gates");
    gates.hidden = run.gates.length === 0;
    gates.replaceChildren(...run.gates.slice(-20).map(gateItem));
    byId("journal-none").hidden = rows.length + steps.length + run.gates.length > 0;
    setText(byId("journal-counts"), countsOf(rows, steps));
  }

  clear() {
    this.draw({ journal: [], steps: [], gates: [] });
  }
}

function countsOf(rows, steps) {
  const words = [];
  const all = [...rows, ...steps];
  for (const status of ["running", "failed", "done", "succeeded"]) {
    const n = all.filter((row) => row.status === status).length;
    if (n > 0) words.push(`${count(n)} ${status}`);
  }
  return all.length > 1 ? words.join(" · ") : "";
}

class KeyedRows {
  constructor(table, make, fill) {
    this.table = table;
    this.body = table.tBodies[0];
    this.make = make;
    this.fill = fill;
    this.rows = new Map();
    this.more = element("caption", "more-rows");
  }

  draw(all) {
    const shown = chosen(all);
    const kept = new Set(shown.map((row) => row.key));
    for (const [key, row] of this.rows) {
      if (kept.has(key)) continue;
      row.element.remove();
      this.rows.delete(key);
    }
    shown.forEach((facts, index) => {
      let row = this.rows.get(facts.key);
      if (!row) {
        row = this.make();
        this.rows.set(facts.key, row);
      }
      this.fill(row, facts);
      if (this.body.children[index] !== row.element) this.body.insertBefore(row.element, this.body.children[index] ?? null);
    });
    this.table.hidden = all.length === 0;
    this.more.textContent = `and ${count(all.length - shown.length)} more`;
    if (all.length > shown.length) this.table.prepend(this.more);
    else this.more.remove();
  }
}

function chosen(rows) {
  if (rows.length <= ROWS_MAX) return rows;
  const telling = (row) => row.status === "failed" || row.status === "running";
  const first = new Set(rows.filter(telling).slice(0, ROWS_MAX));
  for (const row of rows) {
    if (first.size >= ROWS_MAX) break;
    first.add(row);
  }
  return rows.filter((row) => first.has(row));
}

function cells(...names) {
  const row = { element: document.createElement("tr") };
  for (const name of names) {
    row[name] = element("td", name);
    row.element.append(row[name]);
  }
  row.badge = element("span", "badge");
  row.state.append(row.badge);
  return row;
}

function fillState(row, status) {
  const mark = markOf(status);
  row.badge.className = `badge ${kindOf(mark)}`;
  row.element.dataset.state = status;
  setText(row.badge, `${mark} ${status}`);
}

function setWords(cell, text) {
  const plain = plainText(text);
  setText(cell, plain);
  if (cell.title !== plain) cell.title = plain;
}

function makeRepetition() {
  const row = cells("host", "workload", "state", "progress", "action", "last");
  row.bar = element("span", "progress-bar");
  row.fill = element("i", "");
  row.number = element("span", "number");
  row.bar.append(row.fill);
  row.progress.append(row.bar, row.number);
  return row;
}

function fillRepetition(row, facts) {
  setWords(row.host, facts.host);
  setWords(row.workload, facts.workload);
  fillState(row, facts.status);
  const total = Math.max(facts.total, facts.ended);
  row.bar.className = `progress-bar ${facts.failed > 0 ? "failed" : kindOf(markOf(facts.status))}`;
  row.fill.style.width = `${total === 0 ? 0 : Math.round((facts.ended / total) * 100)}%`;
  setText(row.number, facts.total === 0 ? count(facts.current) : `${count(facts.current)}/${count(facts.total)}`);
  const failed = facts.status === "failed" && facts.error !== "";
  row.action.classList.toggle("error", failed);
  setWords(row.action, failed ? facts.error : facts.action);
  setText(row.last, seconds(facts.last));
}

function makeStep() {
  return cells("step", "state", "tries", "why", "last");
}

function fillStep(row, facts) {
  setWords(row.step, facts.step_id);
  fillState(row, facts.status);
  setText(row.tries, facts.retries > 0 ? `${count(facts.retries)} ${facts.retries === 1 ? "retry" : "retries"}` : "");
  row.why.classList.toggle("error", facts.status === "failed");
  setWords(row.why, [facts.error_class, facts.reason].filter((word) => word).join(": "));
  setText(row.last, seconds(facts.duration_s));
}

function gateItem(gate) {
  const at = Date.parse(gate.at ?? "");
  const item = element("li", "gate");
  item.append(element("b", "", `✗ gate ${plainText(gate.step_id)}`));
  const why = [gate.error_class, gate.reason].filter((word) => word).map(plainText).join(": ");
  if (why !== "") item.append(element("span", "why", why));
  if (!Number.isNaN(at)) item.append(Object.assign(element("time", "", clock(at).slice(0, 8)), { title: dateTime(at) }));
  return item;
}
