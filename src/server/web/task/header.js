// Everything above the log: who, state, how long, counts; and the tab's title and icon.

import { byId, setText } from "../shared/dom.js";
import { ago, bytes, commandLine, count, counted, dateTime, duration, elapsed, integrityWords, verdict } from "../shared/format.js";
import { setIcon } from "../shared/icon.js";
import { signInLink } from "../shared/access.js";
import { taskUrl } from "../shared/api.js";
import { TASK_NOTICES } from "../shared/notices.js";

export class Header {
  constructor(id) {
    this.id = id;
    this.task = null;
    this.connection = "connecting";
    this.retryAt = 0;
    this.lineAt = 0;
    this.lines = 0;
    this.bytes = 0;
    setText(byId("task-id"), id);
    byId("task-id").title = id;
    byId("get-text").href = `${taskUrl(id)}/log?format=text`;
    byId("get-times").href = `${taskUrl(id)}/log?format=text&timestamps=1`;
    byId("get-ndjson").href = `${taskUrl(id)}/log?format=ndjson`;
    this.tick();
    setInterval(() => this.tick(), 1000);
  }

  /** The task's facts as the server tells them. */
  take(task) {
    this.task = task;
    this.lines = Math.max(this.lines, task.lines);
    this.bytes = Math.max(this.bytes, task.bytes);
    this.drawFacts();
    this.tick();
  }

  /** The connection's state, with the pause before the next try. */
  connected(state, waitMs) {
    this.connection = state;
    this.retryAt = waitMs === undefined ? 0 : Date.now() + waitMs;
    this.tick();
  }

  forget() {
    this.lines = 0;
    this.bytes = 0;
  }

  /** Lines came; those up to number `known` are history that the task's facts have counted. */
  sawLines(lines, known) {
    const last = lines[lines.length - 1];
    this.lineAt = last.n > known ? Date.now() : Date.parse(last.timestamp);
    this.lines = Math.max(this.lines, last.n);
    for (const line of lines) if (line.n > known) this.bytes += line.line.length + 1;
  }

  drawFacts() {
    const { task } = this;
    const command = commandLine(task.command);
    setText(byId("command"), command);
    byId("command").title = command;
    setText(byId("host"), task.host ?? "");
    byId("host").title = task.host ? `runs on ${task.host}` : "";
    const chips = Object.entries(task.labels ?? {}).map(([key, value]) => {
      const chip = document.createElement(key === "run" && value !== "" ? "a" : "span");
      if (chip.tagName === "A") chip.href = `/runs/${encodeURIComponent(value)}`;
      chip.className = "chip";
      chip.textContent = value === "" ? key : `${key}: ${value}`;
      return chip;
    });
    byId("labels").replaceChildren(...chips);
    this.drawIntegrity();
    byId("elapsed").title = `started ${dateTime(Date.parse(task.started ?? task.created))}` +
      (task.ended ? `, ended ${dateTime(Date.parse(task.ended))}` : "");
  }

  /** Whether the log is what the worker sent: beside the counts, and if it is not, in a bar. */
  drawIntegrity() {
    const told = integrityWords(this.task.integrity);
    const element = byId("integrity");
    element.hidden = told === null;
    element.className = `integrity ${told?.kind ?? ""}`;
    element.title = told?.title ?? "";
    setText(byId("integrity"), told?.words ?? "");
    byId("alarm").hidden = !told?.alarm;
    setText(byId("alarm"), told?.alarm ?? "");
  }

  tick() {
    const state = this.state();
    const root = document.documentElement;
    root.dataset.state = state.kind;
    root.dataset.connection = this.connection;
    setText(byId("state"), `${state.mark} ${state.words}`);
    byId("state").className = `badge ${state.kind}`;
    setText(byId("elapsed"), this.task ? duration(elapsed(this.task, Date.now())) : "");
    this.drawLive();
    document.title = `${state.mark} ${this.id} · ${state.words} · tasktail`;
    setIcon(this.connection === "offline" && !this.over ? "offline" : state.kind);
  }

  /** What changes with each line. */
  drawLive() {
    setText(byId("counts"), this.task ? `${counted(this.lines, "line")} · ${bytes(this.bytes)}` : "");
    setText(byId("link"), this.linkWords());
    this.drawNotice();
  }

  get over() {
    return this.connection === "ended";
  }

  state() {
    if (this.task) return verdict(this.task);
    switch (this.connection) {
      case "not_found": return { kind: "idle", mark: "?", words: "not found" };
      case "no_access": return { kind: "idle", mark: "⊘", words: "no access" };
      case "signed_out": return { kind: "idle", mark: "⊘", words: "signed out" };
      case "waiting": return { kind: "idle", mark: "○", words: "waiting" };
      case "offline": return { kind: "idle", mark: "○", words: "offline" };
      default: return { kind: "idle", mark: "○", words: "connecting" };
    }
  }

  linkWords() {
    if (this.connection === "offline") {
      const seconds = Math.max(0, Math.ceil((this.retryAt - Date.now()) / 1000));
      return `offline (retry in ${seconds} s)`;
    }
    if (this.connection === "not_found" && this.task) return "this task was removed";
    if (this.connection === "signed_out") return "signed out";
    if (this.connection === "connecting") return this.task ? "reconnecting…" : "connecting…";
    if (this.connection !== "live" || !this.task || this.task.status !== "running") return "";
    if (this.task.live === false && this.lineAt === 0) return "live";
    return this.lineAt === 0 ? "live" : `live, last line ${ago(Date.now() - this.lineAt)}`;
  }

  drawNotice() {
    const notice = byId("notice");
    const name = this.noticeName();
    if (notice.dataset.name === (name ?? "")) return;
    notice.dataset.name = name ?? "";
    notice.hidden = name === null;
    if (name === null) return;
    const [title, words] = TASK_NOTICES[name];
    const head = document.createElement("h2");
    head.textContent = title;
    const body = document.createElement("p");
    body.textContent = words;
    notice.replaceChildren(head, body);
    if (name === "no_access" || name === "signed_out") notice.append(signInLink());
  }

  noticeName() {
    if (this.lines > 0) return null;
    if (!this.task) return TASK_NOTICES[this.connection] ? this.connection : "connecting";
    if (this.connection === "signed_out") return "signed_out";
    if (this.over || this.task.ended) return "silent";
    return this.connection === "offline" ? "offline" : "waiting_line";
  }

  /** What the channel switches count; `capped` where only a part was counted. */
  drawChannels(counts, capped) {
    for (const button of document.querySelectorAll(".channel")) {
      const { stream } = button.dataset;
      const n = stream === "stdout" ? Math.max(0, this.lines - counts.stderr - counts.internal) : counts[stream];
      const known = n > 0 && !(capped && stream === "stdout");
      const words = known ? count(n) + (capped ? "+" : "") : "";
      const cell = button.querySelector("b");
      if (cell.textContent !== words) cell.textContent = words;
    }
  }
}
