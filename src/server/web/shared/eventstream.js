// Server-sent events over `fetch`. An EventSource sends no share, hides the status of a rejected request, and does not
// show that a proxy stores the response.

import { withShare } from "./api.js";

const OPEN_MS = 5000;
// The server sends a comment at the start, another one after 2 s, then one at each heartbeat.
const PROBE_COMMENTS = 2;
const PROBE_MS = 5000;
// Two heartbeats of the server, and some time.
const SILENCE_MS = 40_000;
const BUSY_MS = 500;

/** An open response with server-sent events. */
export class EventStream {
  /**
   * Opens `url`. Handlers: onOpen() at the first bytes; onProven() when the comments pass without delay; onEvent({
   * type, id, data }); onBatch() after the events that arrived together; once onClose({ status, stored }), where
   * `stored` reports that something between server and page keeps bytes back.
   */
  constructor(url, handlers) {
    this.handlers = handlers;
    this.comments = 0;
    this.received = false;
    this.abort = new AbortController();
    this.awaitBytes(OPEN_MS);
    this.read(url).then((status) => this.fail(status), () => this.fail(0));
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.abort.abort();
  }

  // Returns the status of a rejected request, or 200 at the end of the stream.
  async read(url) {
    const options = { headers: withShare({ accept: "text/event-stream" }), cache: "no-store", signal: this.abort.signal };
    const response = await fetch(url, options);
    if (response.status !== 200) return response.status;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.closed) return response.status;
      const events = (text + value).split("\n\n");
      text = events.pop();
      this.receive(events);
    }
  }

  receive(events) {
    if (!this.received) {
      this.received = true;
      this.handlers.onOpen();
    }
    for (const event of events) this.dispatch(event);
    this.awaitBytes(this.comments < PROBE_COMMENTS ? PROBE_MS : SILENCE_MS);
    if (!this.closed) this.handlers.onBatch?.();
  }

  dispatch(text) {
    if (this.closed) return;
    if (text.startsWith(":")) {
      this.comments += 1;
      if (this.comments === PROBE_COMMENTS) this.handlers.onProven();
      return;
    }
    const fields = new Map();
    for (const row of text.split("\n")) {
      const colon = row.indexOf(":");
      if (colon > 0) fields.set(row.slice(0, colon), row.slice(colon + 1).trimStart());
    }
    const data = fields.get("data");
    if (data !== undefined) this.handlers.onEvent({ type: fields.get("event") ?? "message", id: fields.get("id") ?? null, data });
  }

  awaitBytes(ms) {
    clearTimeout(this.timer);
    if (this.closed) return;
    const expire = () => {
      this.late = true;
      this.abort.abort();
    };
    // A page that was busy reads first what has arrived meanwhile.
    this.timer = setTimeout(() => (this.timer = setTimeout(expire, BUSY_MS)), ms);
  }

  fail(status) {
    if (this.closed) return;
    this.close();
    this.handlers.onClose({ status, stored: this.late === true && this.comments < PROBE_COMMENTS });
  }
}
