// The live events of one run. An EventSource resumes after the last event when the connection breaks
// (`Last-Event-ID`). If the browser closes it because the server answered with an error, the feed
// opens a new one after the last event.
//
// States passed to `onState`: connecting, live, offline (with the milliseconds to the next attempt),
// no_access, signed_out.

import { fetchRun, runUrl } from "../shared/api.js";
import { cursorNumber, parseEvent } from "./events.js";

const TAIL_EVENTS = 1000;
const FAR_BEHIND_EVENTS = 20_000;
// The browser's delay between two attempts unless the server sets another one.
const BROWSER_RETRY_MS = 3000;
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 10_000;
// More events in one frame would stutter.
const FRAME_EVENTS_MAX = 4000;
// A hidden page gets no animation frames.
const HIDDEN_MS = 500;
const REFUSED = { 401: "signed_out", 403: "no_access" };

/** The live connection to one run's events. */
export class RunFeed {
  /** `handlers`: onEvents(items, initial), onReset(), onState(state, waitMs). */
  constructor(id, handlers) {
    this.id = id;
    this.handlers = handlers;
    this.cursor = null;
    this.last = 0;
    this.queue = [];
    this.attempts = 0;
    globalThis.addEventListener?.("online", () => this.retryNow());
    globalThis.addEventListener?.("pagehide", () => this.source?.close());
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = null;
    this.refused = false;
    this.source?.close();
    const start = this.cursor === null ? `tail=${TAIL_EVENTS}` : `after=${encodeURIComponent(this.cursor)}`;
    const source = new EventSource(`${runUrl(this.id)}/events/stream?wait=1&${start}`);
    this.source = source;
    this.handlers.onState("connecting");
    const listen = (type, handler) => source.addEventListener(type, (event) => source === this.source && handler(event));
    listen("open", () => this.opened());
    listen("message", (event) => this.receive(event.lastEventId, event.data));
    listen("reset", () => this.reset());
    // An error sent by the server is a message of that name.
    listen("error", (event) => (event.data === undefined ? this.connectionError() : this.reconnect()));
  }

  /** Retries now instead of after the delay. */
  retryNow() {
    if (this.offline) this.connect();
  }

  opened() {
    this.attempts = 0;
    this.offline = false;
    this.handlers.onState("live");
  }

  connectionError() {
    this.offline = true;
    if (this.source.readyState === EventSource.CLOSED) this.reconnect();
    else this.handlers.onState("offline", BROWSER_RETRY_MS);
  }

  async reconnect() {
    const { source } = this;
    source.close();
    const full = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.attempts);
    this.attempts += 1;
    this.offline = true;
    // Jitter keeps pages from reconnecting all at once after a restart.
    const wait = Math.round(full * (0.75 + Math.random() / 4));
    this.timer = setTimeout(() => this.connect(), wait);
    this.handlers.onState("offline", wait);
    // An EventSource does not expose the status of a rejected request, so this asks over HTTP.
    const status = await fetchRun(this.id).then(() => 200, (error) => error.status);
    if (!(status in REFUSED) || source !== this.source) return;
    clearTimeout(this.timer);
    this.timer = null;
    this.offline = false;
    this.refused = true;
    this.handlers.onState(REFUSED[status]);
  }

  /** Reconnects after access was denied. */
  resume() {
    if (this.refused) this.connect();
  }

  receive(cursor, data) {
    // Events after a reset refer to the new log; `reset` has emptied the queue.
    this.queue.push([cursor, data]);
    this.schedule();
  }

  reset() {
    this.queue = [];
    this.last = 0;
    const resumed = this.cursor !== null;
    this.cursor = null;
    this.handlers.onReset();
    // After a reset the whole new log follows; its tail is enough to start with.
    if (resumed) this.restart();
  }

  /** Restarts from the newest events. */
  restart() {
    this.queue = [];
    this.cursor = null;
    this.connect();
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    const run = () => {
      if (!this.scheduled) return;
      clearTimeout(timer);
      cancelAnimationFrame(frame);
      this.scheduled = false;
      this.flush();
    };
    const frame = requestAnimationFrame(run);
    const timer = setTimeout(run, HIDDEN_MS);
  }

  flush() {
    const items = [];
    const initial = this.cursor === null;
    for (const [cursor, data] of this.queue.splice(0, FRAME_EVENTS_MAX)) {
      const n = cursorNumber(cursor) ?? this.last + 1;
      this.cursor = cursor;
      const item = n > this.last ? parseEvent(n, data) : null;
      if (item === null) continue;
      this.last = n;
      items.push(item);
    }
    if (this.queue.length > 0) this.schedule();
    if (items.length > 0) this.handlers.onEvents(items, initial);
  }

  /** Restarts from the newest events if the feed is far behind the total of `events`. */
  checkBacklog(events) {
    const behind = events - this.last - this.queue.length;
    if (this.cursor !== null && !this.offline && behind > FAR_BEHIND_EVENTS) this.restart();
  }
}
