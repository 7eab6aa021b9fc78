// The live connection to one task: opens, resumes behind the last line it saw, tells what it hears.
//
// States told to `onState`: connecting, waiting (open, no task yet), live, ended, offline (with the
// milliseconds to the next try), and what the server refuses: not_found, no_access, signed_out.

import { fetchTask } from "../shared/api.js";
import { isWide } from "./loader.js";

const TAIL_LINES = 1000;
const FAR_BEHIND_LINES = 20_000;
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 10_000;
const SILENCE_MS = 250;
// The server pings every 15 s, but a page does not see pings; a dead path shows when the network
// says so (the `offline` event) or when TCP gives up.
const REFUSED = { not_found: "not_found", unauthorized: "signed_out", forbidden: "no_access" };
// How the server closes a connection whose access has ended.
const CLOSE_SIGNED_OUT = 4401;

export class LiveSocket {
  constructor(id, handlers) {
    this.id = id;
    this.handlers = handlers;
    this.cursor = null;
    this.last = 0;
    this.attempts = 0;
    this.ended = false;
    this.opened = false;
    globalThis.addEventListener?.("online", () => this.retryNow());
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = null;
    this.opened = false;
    this.handlers.onState("connecting");
    const start = this.cursor === null ? `tail=${TAIL_LINES}` : `after=${encodeURIComponent(this.cursor)}`;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const url = `${scheme}//${location.host}/ws/v1/tasks/${encodeURIComponent(this.id)}?${start}&wait=1`;
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.addEventListener("open", () => {
      if (socket === this.socket) this.awaitTask(socket);
    });
    socket.addEventListener("message", (event) => {
      if (socket === this.socket) this.receive(event.data);
    });
    socket.addEventListener("close", (event) => {
      if (socket === this.socket) this.closed(event.code);
    });
  }

  // With `wait=1` the server says nothing until there is a task.
  awaitTask(socket) {
    this.handlers.onState("waiting");
    setTimeout(() => {
      if (socket === this.socket && !this.opened) this.learnWhy();
    }, SILENCE_MS);
  }

  /** Tries at once instead of at the end of the pause. */
  retryNow() {
    if (this.timer) this.connect();
  }

  /** Goes on where it was after a refusal. */
  again() {
    if (!this.refused) return;
    this.refused = false;
    this.connect();
  }

  receive(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    const take = this[`on_${message.type}`];
    if (take) take.call(this, message);
  }

  on_open(message) {
    this.opened = true;
    this.attempts = 0;
    this.farBehind = this.cursor !== null && message.last_line - this.last > FAR_BEHIND_LINES;
    this.handlers.onOpen(message);
    this.handlers.onState("live");
  }

  on_lines(message) {
    if (this.farBehind) {
      // Nobody reads all that passed meanwhile line by line; its pages come when looked at. Not
      // before the first lines: a `reset` may come ahead of them, and it must be heard.
      this.startAnew();
      return;
    }
    const fresh = message.lines.filter((line) => line.n > this.last);
    if (message.cursor) this.cursor = message.cursor;
    if (fresh.length === 0) return;
    this.last = fresh[fresh.length - 1].n;
    this.handlers.onLines(fresh);
  }

  on_gap(message) {
    if (message.cursor) this.cursor = message.cursor;
    // A narrow gap names the line that stands for it, which is counted when it comes.
    if (isWide(message)) this.last = Math.max(this.last, message.to);
    this.handlers.onGap(message);
  }

  on_status(message) {
    this.handlers.onTask(message.task);
  }

  on_end(message) {
    this.ended = true;
    this.handlers.onTask(message.task);
    this.handlers.onState("ended");
  }

  on_reset() {
    this.farBehind = false;
    this.last = 0;
    const resumed = this.cursor !== null;
    this.cursor = null;
    this.handlers.onReset();
    // Behind a reset comes the whole new log; its last part is enough to begin with.
    if (resumed) this.startAnew();
  }

  on_error(message) {
    const refused = REFUSED[message.code];
    if (refused) {
      this.refuse(refused);
    } else {
      this.handlers.onNotice(message.message ?? message.code);
    }
  }

  startAnew() {
    this.farBehind = false;
    const old = this.socket;
    this.socket = null;
    this.cursor = null;
    old.close();
    this.connect();
  }

  refuse(state) {
    this.refused = true;
    this.handlers.onState(state);
  }

  closed(code) {
    this.socket = null;
    if (this.ended || this.refused) return;
    if (code === CLOSE_SIGNED_OUT) this.refuse("signed_out");
    else if (this.opened) this.pause();
    else this.learnWhy().then(() => this.pause());
  }

  // A browser does not tell a page why a socket was refused; the same question over HTTP does.
  async learnWhy() {
    try {
      await fetchTask(this.id);
    } catch (error) {
      if (this.opened) return;
      if (error.status === 401) this.refuse("signed_out");
      if (error.status === 403) this.refuse("no_access");
      if (error.status === 404) this.handlers.onState("not_found");
    }
  }

  pause() {
    if (this.refused) return;
    const full = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.attempts);
    this.attempts += 1;
    // Jitter, or every page comes back in the same moment after a restart.
    const wait = Math.round(full * (0.75 + Math.random() / 4));
    this.timer = setTimeout(() => this.connect(), wait);
    this.handlers.onState("offline", wait);
  }
}
