// The ways to receive one task's log, the best first: a WebSocket, server-sent events, and polling. Each calls
// `onOpen()`, `onMessage(message)` with the messages of the viewer protocol, and once `onClose(code)`.

import { fetchLines, fetchTask, shareProtocols, streamUrl, withShare } from "../shared/api.js";
import { at } from "../shared/root.js";

const SSE_OPEN_MS = 5000;
// Lines that arrive together are one message.
const SSE_LINES_MAX = 1000;
// Two heartbeats of the server, and some time.
const SSE_SILENCE_MS = 40_000;
const POLL_MS = 2000;
const POLL_LINES = 2000;

/** The transports by name, each with the next one. */
export const TRANSPORTS = {
  socket: { create: (...args) => new SocketTransport(...args), next: "sse" },
  sse: { create: (...args) => new SseTransport(...args), next: "polling" },
  polling: { create: (...args) => new PollTransport(...args), next: null },
};

/** A WebSocket. */
class SocketTransport {
  constructor(id, start, handlers) {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const path = at(`/ws/v1/tasks/${encodeURIComponent(id)}`);
    const query = new URLSearchParams({ ...start, wait: 1, partial: 1 });
    this.socket = new WebSocket(`${scheme}//${location.host}${path}?${query}`, shareProtocols());
    this.socket.addEventListener("open", () => handlers.onOpen());
    this.socket.addEventListener("message", (event) => {
      const message = parse(event.data);
      if (message !== null) handlers.onMessage(message);
    });
    this.socket.addEventListener("close", (event) => handlers.onClose(event.code));
  }

  close() {
    this.socket.close();
  }
}

/** Server-sent events: one line an event, collected into messages. */
class SseTransport {
  // An EventSource can send no share, and does not show that nothing arrives.
  constructor(id, start, handlers) {
    this.handlers = handlers;
    this.lines = [];
    this.abort = new AbortController();
    this.timer = setTimeout(() => this.abort.abort(), SSE_OPEN_MS);
    this.read(streamUrl(id, { ...start, wait: 1, partial: 1, open: 1 })).then(
      () => this.fail(false),
      () => this.fail(!this.received),
    );
  }

  async read(url) {
    const options = { headers: withShare({ accept: "text/event-stream" }), cache: "no-store", signal: this.abort.signal };
    const response = await fetch(url, options);
    if (!response.ok || response.status === 204) throw new Error(`status ${response.status}`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      // The server sends a comment at once and at each heartbeat, unless a proxy stores the response.
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.abort.abort(), SSE_SILENCE_MS);
      if (!this.received) this.handlers.onOpen();
      this.received = true;
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) this.receive(event);
      this.flush();
    }
  }

  receive(text) {
    const fields = new Map();
    for (const row of text.split("\n")) {
      const colon = row.indexOf(":");
      if (colon > 0) fields.set(row.slice(0, colon), row.slice(colon + 1).trimStart());
    }
    const data = parse(fields.get("data") ?? "");
    if (data === null || this.closed) return;
    const type = fields.get("event") ?? "line";
    if (type === "line") {
      this.lines.push(data);
      this.cursor = fields.get("id");
      if (this.lines.length >= SSE_LINES_MAX) this.flush();
      return;
    }
    this.flush();
    const message = type === "partial" ? { type, line: data } : { ...data, type };
    if (type === "gap") message.cursor = fields.get("id");
    this.handlers.onMessage(message);
  }

  flush() {
    if (this.lines.length === 0 || this.closed) return;
    this.handlers.onMessage({ type: "lines", lines: this.lines.splice(0), cursor: this.cursor });
  }

  fail(refused) {
    if (this.closed) return;
    this.close();
    this.handlers.onClose(0, refused);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.abort.abort();
  }
}

/** Requests for the lines since the last one, every two seconds. */
class PollTransport {
  constructor(id, start, handlers) {
    this.id = id;
    this.start = start;
    this.handlers = handlers;
    this.abort = new AbortController();
    this.timer = setTimeout(() => this.poll(), 0);
  }

  async poll() {
    const { handlers } = this;
    try {
      const task = await fetchTask(this.id, this.abort.signal);
      if (!this.opened) {
        this.opened = true;
        handlers.onOpen();
        handlers.onMessage({ type: "open", task, first_line: task.first_line, last_line: task.last_line });
      }
      await this.read(task);
    } catch (error) {
      if (this.abort.signal.aborted) return;
      if (error.status === 409) handlers.onMessage({ type: "reset" });
      // With `wait`, the task may come later.
      if (error.status !== 404 || this.opened) return handlers.onClose(0);
    }
    if (!this.abort.signal.aborted) this.timer = setTimeout(() => this.poll(), POLL_MS);
  }

  async read(task) {
    const { handlers } = this;
    let page;
    do {
      page = await fetchLines(this.id, { ...this.start, limit: POLL_LINES }, this.abort.signal);
      if (this.abort.signal.aborted) return;
      for (const gap of page.gaps ?? []) handlers.onMessage({ ...gap, type: "gap", cursor: page.cursor });
      if (page.lines.length > 0) handlers.onMessage({ type: "lines", lines: page.lines, cursor: page.cursor });
      this.start = { after: page.cursor };
    } while (page.next_line <= page.last_line);
    if (task.status === "completed" || task.status === "aborted") {
      this.close();
      handlers.onMessage({ type: "end", task, cursor: page.cursor });
    } else handlers.onMessage({ type: "status", task });
  }

  close() {
    this.abort.abort();
    clearTimeout(this.timer);
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
