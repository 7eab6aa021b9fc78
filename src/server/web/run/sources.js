// The ways to receive one run's events: server-sent events, and polling where a proxy stores them. Each calls `onOpen()`,
// `onProven()` once it is known to get through, `onEvents([{ n, cursor, json }, ..])`, `onReset()`, and once
// `onClose(status, failed)`: the status of the response, 0 without one, and whether the transport itself did not get
// through. `n` and `cursor` are null where they are not known.

import { fetchEvents, fetchRun, runUrl } from "../shared/api.js";
import { EventStream } from "../shared/eventstream.js";
import { cursorNumber } from "./events.js";

const POLL_MS = 2000;
const POLL_EVENTS = 2000;

/** Functions that start a source, by name, the best first. */
export const SOURCES = {
  sse: (...args) => new StreamSource(...args),
  polling: (...args) => new PollSource(...args),
};

/** Server-sent events. */
class StreamSource {
  constructor(id, start, handlers) {
    const query = new URLSearchParams({ wait: 1, ...start });
    this.events = [];
    this.handlers = handlers;
    this.stream = new EventStream(`${runUrl(id)}/events/stream?${query}`, {
      onOpen: () => handlers.onOpen(),
      onProven: () => handlers.onProven(),
      onEvent: (event) => this.receive(event),
      onBatch: () => this.flush(),
      // Anything but an answer of the server is no event stream either.
      onClose: ({ status, stored }) => handlers.onClose(status, stored || !this.stream.received),
    });
  }

  receive({ type, id, data }) {
    if (type === "message") this.events.push({ n: cursorNumber(id), cursor: id, json: data });
    if (type !== "reset") return;
    this.events = [];
    this.handlers.onReset();
  }

  flush() {
    if (this.events.length > 0) this.handlers.onEvents(this.events.splice(0));
  }

  close() {
    this.stream.close();
  }
}

/** Requests for the events since the last one, every two seconds. */
class PollSource {
  constructor(id, start, handlers) {
    this.id = id;
    this.start = start;
    this.handlers = handlers;
    this.abort = new AbortController();
    this.timer = setTimeout(() => this.poll(), 0);
  }

  async poll() {
    try {
      await this.read();
    } catch (error) {
      if (this.abort.signal.aborted) return;
      // A run that was deleted, or that another one has replaced.
      const reset = error.status === 409 || (error.status === 404 && "after" in this.start);
      if (!reset && error.status !== 404) return this.handlers.onClose(error.status ?? 0, false);
      this.open();
      if (reset) {
        this.start = { from: 1 };
        this.handlers.onReset();
      }
    }
    if (!this.abort.signal.aborted) this.timer = setTimeout(() => this.poll(), POLL_MS);
  }

  async read() {
    let page;
    do {
      page = await fetchEvents(this.id, { ...this.start, limit: POLL_EVENTS }, this.abort.signal);
      if (this.abort.signal.aborted) return;
      this.open();
      if (page.events.length > 0) this.handlers.onEvents(numbered(page));
      this.start = { after: page.cursor };
    } while (page.next !== undefined);
  }

  // A run that does not exist may come later.
  open() {
    if (this.opened) return;
    this.opened = true;
    this.handlers.onOpen();
    this.handlers.onProven();
  }

  close() {
    this.abort.abort();
    clearTimeout(this.timer);
  }
}

// The events of a page are numbered from its cursor, which is that of the last one.
function numbered({ events, cursor }) {
  const last = cursorNumber(cursor) ?? 0;
  const item = (event, ahead) => ({ n: last - ahead, cursor: ahead === 0 ? cursor : null, json: JSON.stringify(event) });
  return events.map((event, index) => item(event, events.length - 1 - index));
}
