// The live events of one run: opens the stream, resumes after the last event when the connection breaks, and continues
// by polling where a proxy stores the stream.
//
// States passed to `onState`: connecting, live, offline (with the milliseconds to the next attempt),
// no_access, signed_out.

import { fetchRun } from "../shared/api.js";
import { STORING_PROXY, TransportChoice } from "../shared/transport.js";
import { parseEvent } from "./events.js";
import { SOURCES } from "./sources.js";

const TAIL_EVENTS = 1000;
const FAR_BEHIND_EVENTS = 20_000;
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 10_000;
// More events in one frame would stutter.
const FRAME_EVENTS_MAX = 4000;
// A hidden page gets no animation frames.
const HIDDEN_MS = 500;
const REFUSED = { 401: "signed_out", 403: "no_access" };

/** The live connection to one run's events. */
export class RunFeed {
  /** `handlers`: onEvents(items, initial), onReset(), onState(state, waitMs), onTransport(name, reason). */
  constructor(id, handlers) {
    this.id = id;
    this.handlers = handlers;
    this.cursor = null;
    this.last = 0;
    this.queue = [];
    this.attempts = 0;
    const explain = (name) => handlers.onTransport(name, name === "polling" ? STORING_PROXY : "");
    this.transport = new TransportChoice(Object.keys(SOURCES), explain);
    globalThis.addEventListener?.("online", () => this.retryNow());
    globalThis.addEventListener?.("pagehide", () => this.source?.close());
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = null;
    this.refused = false;
    this.source?.close();
    this.handlers.onState("connecting");
    const start = this.cursor === null ? { tail: TAIL_EVENTS } : { after: this.cursor };
    const handlers = {
      onOpen: () => source === this.source && this.opened(),
      onProven: () => source === this.source && this.transport.works(),
      onEvents: (events) => source === this.source && this.receive(events),
      onReset: () => source === this.source && this.reset(),
      onClose: (status, failed) => source === this.source && this.closed(status, failed),
    };
    const source = SOURCES[this.transport.begin()](this.id, start, handlers);
    this.source = source;
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

  /** Handles the end of a connection; `failed` if the transport itself is at fault. */
  closed(status, failed) {
    this.offline = !(status in REFUSED);
    this.refused = !this.offline;
    if (this.refused) return this.handlers.onState(REFUSED[status]);
    const full = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.attempts);
    this.attempts += 1;
    // Jitter keeps pages from reconnecting all at once after a restart.
    const wait = Math.round(full * (0.75 + Math.random() / 4));
    this.timer = setTimeout(() => this.connect(), wait);
    this.handlers.onState("offline", wait);
    if (failed) this.checkTransport();
  }

  // If the server answers, the transport does not get through, and another one may.
  async checkTransport() {
    const { source } = this;
    const status = await fetchRun(this.id).then(() => 200, (error) => error.status);
    if (source === this.source && (status === 200 || status === 404) && this.transport.failed()) this.connect();
  }

  /** Reconnects after access was denied. */
  resume() {
    if (this.refused) this.connect();
  }

  receive(events) {
    // Events after a reset refer to the new log; `reset` has emptied the queue.
    for (const event of events) this.queue.push(event);
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
    for (const { n: known, cursor, json } of this.queue.splice(0, FRAME_EVENTS_MAX)) {
      const n = known ?? this.last + 1;
      this.cursor = cursor ?? this.cursor;
      const item = n > this.last ? parseEvent(n, json) : null;
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
