// The page of all tasks: asks again every two seconds while somebody looks.

import { fetchTasks } from "./api.js";
import { bytes, commandLine, count, dateTime, duration, elapsed, verdict } from "./format.js";
import { setIcon } from "./icon.js";

const POLL_MS = 2000;
const PAGE_TASKS = 100;

const byId = (id) => document.getElementById(id);

class TaskList {
  constructor() {
    this.tasks = [];
    this.rows = new Map();
    this.next = null;
    this.body = document.querySelector("#tasks tbody");
    this.filter = byId("filter");
  }

  start() {
    this.filter.addEventListener("input", () => this.draw());
    byId("search").addEventListener("submit", (event) => event.preventDefault());
    byId("older").addEventListener("click", () => this.older());
    document.addEventListener("visibilitychange", () => this.poll());
    document.addEventListener("keydown", (event) => this.key(event));
    setInterval(() => this.drawTimes(), 1000);
    setIcon("idle");
    this.poll();
  }

  key(event) {
    if (event.key === "/" && event.target !== this.filter && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.filter.select();
    }
    if (event.key === "Escape" && event.target === this.filter) {
      this.filter.value = "";
      this.filter.blur();
      this.draw();
    }
  }

  async poll() {
    clearTimeout(this.timer);
    if (document.hidden || this.polling) return;
    this.polling = true;
    try {
      const page = await fetchTasks({ limit: PAGE_TASKS });
      this.takeNewest(page);
      this.say("");
    } catch (error) {
      this.say(error.status === 401 || error.status === 403 ? "no access: sign in to see the tasks" : `offline (retry in ${POLL_MS / 1000} s)`);
    }
    this.polling = false;
    this.timer = setTimeout(() => this.poll(), POLL_MS);
  }

  say(words) {
    byId("link").textContent = words;
    document.documentElement.dataset.connection = words === "" ? "live" : "offline";
  }

  // The first page is the truth as far as it reaches; what was loaded behind it stays.
  takeNewest(page) {
    const known = new Set(page.tasks.map((task) => task.id));
    const oldest = page.tasks[page.tasks.length - 1];
    const behind = page.next === null || !oldest
      ? []
      : this.tasks.filter((task) => !known.has(task.id) && task.created <= oldest.created);
    this.tasks = [...page.tasks, ...behind];
    if (behind.length === 0) this.next = page.next;
    this.draw();
  }

  async older() {
    const button = byId("older");
    button.disabled = true;
    try {
      const page = await fetchTasks({ limit: PAGE_TASKS, after: this.next });
      const known = new Set(this.tasks.map((task) => task.id));
      this.tasks.push(...page.tasks.filter((task) => !known.has(task.id)));
      this.next = page.next;
      this.draw();
    } catch {
      this.say("offline");
    }
    button.disabled = false;
  }

  matches(task, words) {
    const labels = Object.entries(task.labels ?? {}).map(([key, value]) => `${key}:${value}`);
    const text = [task.id, verdict(task).words, task.status, task.host ?? "", commandLine(task.command), ...labels].join("\n").toLowerCase();
    return words.every((word) => text.includes(word));
  }

  draw() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = this.tasks.filter((task) => this.matches(task, words));
    const kept = new Set(shown.map((task) => task.id));
    for (const [id, row] of this.rows) {
      if (kept.has(id)) continue;
      row.element.remove();
      this.rows.delete(id);
    }
    let above = null;
    for (const task of shown) {
      const element = this.rowFor(task);
      const place = above ? above.nextSibling : this.body.firstChild;
      if (element !== place) this.body.insertBefore(element, place);
      above = element;
    }
    const running = this.tasks.filter((task) => task.status === "running").length;
    byId("empty").hidden = this.tasks.length > 0;
    byId("tasks").hidden = shown.length === 0;
    byId("none").hidden = this.tasks.length === 0 || shown.length > 0;
    byId("none").textContent = "No task matches.";
    byId("older").hidden = this.next === null;
    byId("counts").textContent = this.tasks.length === 0 ? "" :
      `${count(running)} running · ${words.length > 0 ? `${count(shown.length)} of ` : ""}${count(this.tasks.length)}${this.next === null ? "" : "+"} tasks`;
    document.title = `${running > 0 ? `● ${running} running · ` : ""}tasks · tasktail`;
    setIcon(running > 0 ? "running" : "idle");
  }

  rowFor(task) {
    let row = this.rows.get(task.id);
    if (!row) {
      row = makeRow(task);
      this.rows.set(task.id, row);
    }
    row.task = task;
    fillRow(row);
    return row.element;
  }

  drawTimes() {
    if (document.hidden) return;
    for (const row of this.rows.values()) {
      if (row.task.status === "running") set(row.duration, duration(elapsed(row.task, Date.now())));
    }
  }
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function makeRow(task) {
  const element = document.createElement("tr");
  element.dataset.id = task.id;
  const cell = (className) => {
    const made = document.createElement("td");
    made.className = className;
    element.append(made);
    return made;
  };
  const state = document.createElement("span");
  cell("state").append(state);
  const link = document.createElement("a");
  link.href = `/tasks/${encodeURIComponent(task.id)}`;
  link.textContent = task.id;
  link.title = task.id;
  cell("id").append(link);
  const code = document.createElement("code");
  cell("command").append(code);
  return { element, state, code, labels: cell("labels"), started: cell("started"), duration: cell("duration right"), lines: cell("lines right") };
}

function fillRow({ element, task, state, code, labels, started, duration: time, lines }) {
  const { kind, mark, words } = verdict(task);
  state.className = `badge ${kind}`;
  element.dataset.state = kind;
  set(state, `${mark} ${words}`);
  const command = commandLine(task.command);
  set(code, command);
  code.title = command;
  const wanted = Object.entries(task.labels ?? {}).map(([key, value]) => (value === "" ? key : `${key}: ${value}`));
  if (labels.dataset.of !== wanted.join("\n")) {
    labels.dataset.of = wanted.join("\n");
    labels.replaceChildren(...wanted.map((text) => Object.assign(document.createElement("span"), { className: "chip", textContent: text })));
  }
  set(started, dateTime(Date.parse(task.started ?? task.created)));
  set(time, duration(elapsed(task, Date.now())));
  set(lines, count(task.lines));
  lines.title = bytes(task.bytes);
}

new TaskList().start();
