// The header above the log: id, state, duration, counts; also the tab's title and icon.

import { announce } from "../shared/announce.js";
import { byId, setText } from "../shared/dom.js";
import { ago, bytes, commandLine, count, counted, dateTime, duration, elapsed, integritySummary, verdict } from "../shared/format.js";
import { setIcon } from "../shared/icon.js";
import { signInLink } from "../shared/access.js";
import { downloadUrl } from "../shared/api.js";
import { TASK_NOTICES } from "../shared/notices.js";
import { at } from "../shared/root.js";
import { say } from "../shared/toast.js";

// A phone has no room for how long ago a task ended; the title has the time.
const NARROW_PX = 560;

/** The header of the task page. */
export class Header {
  constructor(id) {
    this.id = id;
    this.task = null;
    this.connection = "connecting";
    this.retryAt = 0;
    this.lineAt = 0;
    this.lines = 0;
    this.ownLines = 0;
    this.bytes = 0;
    setText(byId("task-id"), id);
    byId("task-id").title = id;
    this.drawDownloads();
    // A newer log of the name may have begun since: what is downloaded is the log that is shown.
    for (const type of ["pointerdown", "click"]) {
      byId("download").addEventListener(type, (event) => event.target.closest("a") && this.drawDownloads(), true);
    }
    bindCommand();
    this.tick();
    setInterval(() => this.tick(), 1000);
  }

  drawDownloads() {
    byId("get-text").href = downloadUrl(this.id, { format: "text" });
    byId("get-output").href = downloadUrl(this.id, { format: "text", stream: "stdout,stderr" });
    byId("get-times").href = downloadUrl(this.id, { format: "text", timestamps: 1 });
    byId("get-ndjson").href = downloadUrl(this.id, { format: "ndjson" });
  }

  /** Updates the task's details from the server. */
  setTask(task) {
    this.task = task;
    this.lines = Math.max(this.lines, task.lines);
    this.ownLines = Math.max(this.ownLines, task.own_lines ?? 0);
    this.bytes = Math.max(this.bytes, task.bytes);
    this.drawDetails();
    this.tick();
  }

  /** Updates the connection's state, with the delay before the next attempt. */
  setConnection(state, waitMs) {
    this.connection = state;
    this.retryAt = waitMs === undefined ? 0 : Date.now() + waitMs;
    this.tick();
  }

  /** Records how the log is received, and the reason for it unless it is a WebSocket. */
  setTransport(name, reason) {
    this.transport = name;
    document.documentElement.dataset.transport = name;
    byId("link").title = reason;
    this.drawLive();
  }

  /** Records whether an unfinished line is shown, which replaces the notice of an empty log. */
  setPartial(shown) {
    this.partial = shown;
    if (shown) this.lineAt = Date.now();
    this.drawLive();
  }

  clear() {
    this.partial = false;
    this.lines = 0;
    this.ownLines = 0;
    this.bytes = 0;
  }

  /** Counts new lines; those up to number `known` are included in the task's details already. */
  addLines(lines, known) {
    const last = lines[lines.length - 1];
    this.lineAt = last.n > known ? Date.now() : Date.parse(last.timestamp);
    this.lines = Math.max(this.lines, last.n);
    for (const line of lines) {
      if (line.n <= known) continue;
      this.bytes += line.line.length + 1;
      if (line.stream === "internal") this.ownLines += 1;
    }
  }

  drawDetails() {
    const { task } = this;
    const command = commandLine(task.command);
    setText(byId("command"), command);
    byId("command").title = command;
    byId("command").setAttribute("aria-label", `Command: ${command}`);
    setText(byId("host"), task.host ?? "");
    byId("host").title = task.host ? `runs on ${task.host}` : "";
    byId("about").hidden = command === "" && !task.host && Object.keys(task.labels ?? {}).length === 0;
    const chips = Object.entries(task.labels ?? {}).map(([key, value]) => {
      const chip = document.createElement(key === "run" && value !== "" ? "a" : "span");
      if (chip.tagName === "A") Object.assign(chip, { href: at(`/runs/${encodeURIComponent(value)}`), title: "Open this run" });
      chip.className = "chip";
      chip.textContent = value === "" ? key : `${key}: ${value}`;
      return chip;
    });
    byId("labels").replaceChildren(...chips);
    this.drawIntegrity();
    byId("elapsed").title = `started ${dateTime(Date.parse(task.started ?? task.created))}` +
      (task.ended ? `, ended ${dateTime(Date.parse(task.ended))}` : "");

  }

  /** Draws the verification result beside the counts, and an alarm bar if it failed. */
  drawIntegrity() {
    const integrity = integritySummary(this.task.integrity, this.task);
    const element = byId("integrity");
    element.hidden = integrity === null;
    element.className = `integrity ${integrity?.kind ?? ""}`;
    element.title = integrity?.title ?? "";
    setText(byId("integrity"), integrity?.words ?? "");
    byId("alarm").hidden = !integrity?.alarm;
    setText(byId("alarm"), integrity?.alarm ?? "");
  }

  tick() {
    const state = this.state();
    const root = document.documentElement;
    root.dataset.state = state.kind;
    root.dataset.connection = this.connection;
    setText(byId("state"), `${state.mark} ${state.words}`);
    this.announceState(state);
    byId("state").className = `badge ${state.kind}`;
    setText(byId("elapsed"), this.elapsedText());
    this.drawLive();
    document.title = `${state.mark} ${this.id} · ${state.words} · tasktail`;
    setIcon(this.connection === "offline" && !this.ended ? "offline" : state.kind);
  }

  // "12:41", and for an ended task also how long ago that was.
  elapsedText() {
    const { task } = this;
    if (!task) return "";
    const took = duration(elapsed(task, Date.now()));
    const narrow = globalThis.innerWidth <= NARROW_PX;
    return task.ended && !narrow ? `${took} · ${ago(Math.max(0, Date.now() - Date.parse(task.ended)))}` : took;
  }

  // A screen reader hears each change of state once, and no counts or times.
  announceState(state) {
    const away = { offline: "Offline", signed_out: "Signed out" }[this.connection];
    const ended = this.task?.ended ? ` after ${duration(elapsed(this.task, Date.now()))}` : "";
    announce(away && !this.ended ? away : `Task ${state.words}${ended}`);
  }

  /** Draws the parts that change with each line. */
  drawLive() {
    const lines = Math.max(0, this.lines - this.ownLines);
    setText(byId("counts"), this.task ? `${counted(lines, "line")} · ${bytes(this.bytes)}` : "");
    byId("counts").title = this.ownLines > 0 ? `and ${counted(this.ownLines, "line")} of tasktail itself` : "";
    setText(byId("link"), this.linkText());
    this.drawNotice();
  }

  get ended() {
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

  linkText() {
    if (this.connection === "offline") {
      const seconds = Math.max(0, Math.ceil((this.retryAt - Date.now()) / 1000));
      return `offline (retry in ${seconds} s)`;
    }
    if (this.connection === "not_found" && this.task) return "this task was deleted";
    if (this.connection === "signed_out") return "signed out";
    if (this.connection === "connecting") return this.task ? "reconnecting…" : "connecting…";
    const way = { sse: " over SSE", polling: " by polling" }[this.transport] ?? "";
    if (this.ended && way !== "") return `received${way}`;
    if (this.connection !== "live" || !this.task || this.task.status !== "running") return "";
    if (this.lineAt === 0) return `live${way}`;
    return `live${way}, last line ${ago(Date.now() - this.lineAt)}`;
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
    if (this.lines > 0 || this.partial) return null;
    if (!this.task) return TASK_NOTICES[this.connection] ? this.connection : "connecting";
    if (this.connection === "signed_out") return "signed_out";
    if (this.ended || this.task.ended) return "silent";
    return this.connection === "offline" ? "offline" : "waiting_line";
  }

  /** Draws the channels' counts; `capped` if only a part of the log was counted. */
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

// A click shows the whole command, and text in it can be selected.
function bindCommand() {
  const button = byId("command");
  button.addEventListener("click", () => {
    if (document.getSelection().isCollapsed) button.setAttribute("aria-expanded", String(button.getAttribute("aria-expanded") !== "true"));
  });
  const integrity = byId("integrity");
  integrity.addEventListener("click", () => integrity.title && say(integrity.title.split("\n").slice(0, 6).join(" · ")));
}
