// The live connection to one task: opens it, resumes after the last line, and dispatches messages. Where a proxy refuses
// WebSockets it continues over server-sent events, then by polling.
//
// States passed to `onState`: connecting, waiting (open, no task yet), live, ended, offline (with the
// milliseconds to the next attempt), and the refusals not_found, no_access and signed_out.

import { fetchAccess, fetchTask } from "../shared/api.js";
import { isWide } from "./loader.js";
import { STORING_PROXY, TransportChoice } from "../shared/transport.js";
import { TRANSPORTS } from "./transports.js";

const TAIL_LINES = 1000;
const FAR_BEHIND_LINES = 20_000;
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 10_000;
const SILENCE_MS = 250;
// The server pings every 15 s, but a page does not see pings; it notices a dead connection only when
// TCP times out.
const REFUSED = { not_found: "not_found", unauthorized: "signed_out", forbidden: "no_access" };
// The close code of a connection whose access ended.
const CLOSE_SIGNED_OUT = 4401;

/** The live connection to one task. */
export class LiveSocket {
  constructor(id, handlers) {
    this.id = id;
    this.handlers = handlers;
    this.cursor = null;
    this.last = 0;
    this.attempts = 0;
    this.ended = false;
    this.opened = false;
    this.transport = new TransportChoice(Object.keys(TRANSPORTS), (name) => this.explain(name));
    globalThis.addEventListener?.("online", () => this.retryNow());
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = null;
    this.opened = false;
    this.handlers.onState("connecting");
    const start = this.cursor === null ? { tail: TAIL_LINES } : { after: this.cursor };
    this.connected = false;
    const handlers = {
      onOpen: () => socket === this.socket && this.connectedTo(socket),
      onProven: () => socket === this.socket && this.transport.works(),
      onMessage: (message) => socket === this.socket && this.receive(message),
      onClose: (code, failed) => socket === this.socket && this.closed(code, failed),
    };
    const socket = TRANSPORTS[this.transport.begin()](this.id, start, handlers);
    this.socket = socket;
  }

  connectedTo(socket) {
    this.connected = true;
    this.awaitTask(socket);
  }

  // Shows the transport, and why it is a worse one than a WebSocket.
  async explain(name) {
    this.handlers.onTransport(name, "");
    if (name === "socket") return;
    const access = await fetchAccess(undefined, location.origin).catch(() => null);
    const problem = access?.socket_problem;
    const fix = Object.entries(problem?.fix ?? {}).map(([program, line]) => `${program}: ${line}`);
    const reasons = problem ? [problem.detail, ...fix] : ["A proxy does not pass WebSockets on (Upgrade)."];
    if (name === "polling") reasons.push(STORING_PROXY);
    if (this.transport.current === name) this.handlers.onTransport(name, reasons.join("\n"));
  }

  // With `wait=1` the server sends nothing until the task exists.
  awaitTask(socket) {
    this.handlers.onState("waiting");
    setTimeout(() => {
      if (socket === this.socket && !this.opened) this.checkRefusal();
    }, SILENCE_MS);
  }

  /** Retries now instead of after the delay. */
  retryNow() {
    if (this.timer) this.connect();
  }

  /** Reconnects after access was denied. */
  resume() {
    if (!this.refused) return;
    this.refused = false;
    this.connect();
  }

  receive(message) {
    this[`on_${message.type}`]?.(message);
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
      // Too far behind to receive every line; missing pages load when they are scrolled into view.
      // Not before the first lines: a `reset` may precede them and must be handled.
      this.restart();
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
    // A marked gap names its own line, which is counted when it arrives.
    if (isWide(message)) this.last = Math.max(this.last, message.to);
    this.handlers.onGap(message);
  }

  on_partial(message) {
    this.handlers.onPartial(message.line);
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
    // After a reset the whole new log follows; its tail is enough to start with.
    if (resumed) this.restart();
  }

  on_error(message) {
    const refused = REFUSED[message.code];
    if (refused) {
      this.refuse(refused);
    } else {
      this.handlers.onNotice(message.message ?? message.code);
    }
  }

  restart() {
    this.farBehind = false;
    const old = this.socket;
    this.socket = null;
    this.cursor = null;
    old?.close();
    this.connect();
  }

  refuse(state) {
    this.refused = true;
    this.handlers.onState(state);
  }

  /** Handles the end of a connection; `failed` if the transport itself is at fault. */
  closed(code, failed = !this.connected) {
    this.socket = null;
    if (this.ended || this.refused) return;
    if (code === CLOSE_SIGNED_OUT) this.refuse("signed_out");
    else if (this.opened && !failed) this.scheduleRetry();
    else this.checkRefusal().then((reachable) => this.continue(failed && reachable));
  }

  // `refused` if the server answers, and this transport does not get through.
  continue(refused) {
    if (this.refused) return;
    if (refused && this.transport.failed()) this.connect();
    else this.scheduleRetry();
  }

  // A transport does not expose why it was rejected, so this asks over HTTP. Returns whether the server answers.
  async checkRefusal() {
    try {
      await fetchTask(this.id);
      return true;
    } catch (error) {
      if (this.opened && this.socket !== null) return true;
      if (error.status === 401) this.refuse("signed_out");
      if (error.status === 403) this.refuse("no_access");
      if (error.status === 404) this.handlers.onState("not_found");
      return error.status === 404;
    }
  }

  scheduleRetry() {
    if (this.refused) return;
    const full = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.attempts);
    this.attempts += 1;
    // Jitter keeps pages from reconnecting all at once after a restart.
    const wait = Math.round(full * (0.75 + Math.random() / 4));
    this.timer = setTimeout(() => this.connect(), wait);
    this.handlers.onState("offline", wait);
  }
}
