// The live events of one run: an EventSource, which goes on behind the last event by itself after a
// break (`Last-Event-ID`). Where it gives up, because the server answered something else, it is
// opened again behind the last event.
//
// States told to `onState`: connecting, live, offline (with the milliseconds to the next try),
// no_access, signed_out.

import { fetchRun, runUrl } from "../shared/api.js";
import { placeOf, readEvent } from "./events.js";

const TAIL_EVENTS = 1000;
const FAR_BEHIND_EVENTS = 20_000;
// What a browser waits between two tries unless a server names another pause.
const BROWSER_RETRY_MS = 3000;
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 10_000;
// More than this in one frame would be felt.
const FRAME_EVENTS_MAX = 4000;
// A page that nobody sees draws no frames.
const HIDDEN_MS = 500;
const REFUSED = { 401: "signed_out", 403: "no_access" };

export class RunFeed {
  /** `handlers`: onEvents(items, anew), onReset(), onState(state, waitMs). */
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
    const hear = (type, take) => source.addEventListener(type, (event) => source === this.source && take(event));
    hear("open", () => this.opened());
    hear("message", (event) => this.receive(event.lastEventId, event.data));
    hear("reset", () => this.reset());
    // An error that the server tells is a message of that name.
    hear("error", (event) => (event.data === undefined ? this.broke() : this.giveUp()));
  }

  /** Tries at once instead of at the end of the pause. */
  retryNow() {
    if (this.offline) this.connect();
  }

  opened() {
    this.attempts = 0;
    this.offline = false;
    this.handlers.onState("live");
  }

  broke() {
    this.offline = true;
    if (this.source.readyState === EventSource.CLOSED) this.giveUp();
    else this.handlers.onState("offline", BROWSER_RETRY_MS);
  }

  async giveUp() {
    const { source } = this;
    source.close();
    const full = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.attempts);
    this.attempts += 1;
    this.offline = true;
    // Jitter, or every page comes back in the same moment after a restart.
    const wait = Math.round(full * (0.75 + Math.random() / 4));
    this.timer = setTimeout(() => this.connect(), wait);
    this.handlers.onState("offline", wait);
    // A browser does not tell a page why a stream was refused; the same question over HTTP does.
    const status = await fetchRun(this.id).then(() => 200, (error) => error.status);
    if (!(status in REFUSED) || source !== this.source) return;
    clearTimeout(this.timer);
    this.timer = null;
    this.offline = false;
    this.refused = true;
    this.handlers.onState(REFUSED[status]);
  }

  /** Goes on where it was after a refusal. */
  again() {
    if (this.refused) this.connect();
  }

  receive(cursor, data) {
    // A reset that the queue has not seen yet begins with what is behind it.
    this.queue.push([cursor, data]);
    this.schedule();
  }

  reset() {
    this.queue = [];
    this.last = 0;
    const resumed = this.cursor !== null;
    this.cursor = null;
    this.handlers.onReset();
    // Behind a reset comes the whole new log; its last part is enough to begin with.
    if (resumed) this.startAnew();
  }

  /** Begins with the newest events again, as if nothing had been seen. */
  startAnew() {
    this.queue = [];
    this.cursor = null;
    this.connect();
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    const take = () => {
      if (!this.scheduled) return;
      clearTimeout(timer);
      cancelAnimationFrame(frame);
      this.scheduled = false;
      this.take();
    };
    const frame = requestAnimationFrame(take);
    const timer = setTimeout(take, HIDDEN_MS);
  }

  take() {
    const items = [];
    const anew = this.cursor === null;
    for (const [cursor, data] of this.queue.splice(0, FRAME_EVENTS_MAX)) {
      const n = placeOf(cursor) ?? this.last + 1;
      this.cursor = cursor;
      const item = n > this.last ? readEvent(n, data) : null;
      if (item === null) continue;
      this.last = n;
      items.push(item);
    }
    if (this.queue.length > 0) this.schedule();
    if (items.length > 0) this.handlers.onEvents(items, anew);
  }

  /** There are `events` by now: nobody reads all that passed meanwhile one by one. */
  heardOf(events) {
    const behind = events - this.last - this.queue.length;
    if (this.cursor !== null && !this.offline && behind > FAR_BEHIND_EVENTS) this.startAnew();
  }
}
