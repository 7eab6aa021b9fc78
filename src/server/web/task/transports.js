// The ways to receive one task's log, the best first: a WebSocket, server-sent events, and polling. Each calls
// `onOpen()`, `onProven()` once it is known to get through, `onMessage(message)` with the messages of the viewer protocol,
// and once `onClose(code, failed)`, where `failed` reports that the transport itself did not get through.

import { fetchLines, fetchTask, shareProtocols, streamUrl } from "../shared/api.js";
import { EventStream } from "../shared/eventstream.js";
import { at } from "../shared/root.js";

// Lines that arrive together are one message.
const SSE_LINES_MAX = 1000;
const POLL_MS = 2000;
const POLL_LINES = 2000;

/** Functions that start a transport, by name, the best first. */
export const TRANSPORTS = {
  socket: (...args) => new SocketTransport(...args),
  sse: (...args) => new SseTransport(...args),
  polling: (...args) => new PollTransport(...args),
};

/** A WebSocket. */
class SocketTransport {
  constructor(id, start, handlers) {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const path = at(`/ws/v1/tasks/${encodeURIComponent(id)}`);
    const query = new URLSearchParams({ ...start, wait: 1, partial: 1 });
    this.socket = new WebSocket(`${scheme}//${location.host}${path}?${query}`, shareProtocols());
    this.socket.addEventListener("open", () => {
      handlers.onOpen();
      handlers.onProven();
    });
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
  constructor(id, start, handlers) {
    this.handlers = handlers;
    this.lines = [];
    this.stream = new EventStream(streamUrl(id, { ...start, wait: 1, partial: 1, open: 1 }), {
      onOpen: () => handlers.onOpen(),
      onProven: () => handlers.onProven(),
      onEvent: (event) => this.receive(event),
      onBatch: () => this.flush(),
      onClose: ({ stored }) => handlers.onClose(0, stored || !this.stream.received),
    });
  }

  receive({ type, id, data: text }) {
    const data = parse(text);
    if (data === null) return;
    if (type === "message") {
      this.lines.push(data);
      this.cursor = id;
      if (this.lines.length >= SSE_LINES_MAX) this.flush();
      return;
    }
    this.flush();
    const message = type === "partial" ? { type, line: data } : { ...data, type };
    if (type === "gap") message.cursor = id;
    this.handlers.onMessage(message);
  }

  flush() {
    if (this.lines.length === 0) return;
    this.handlers.onMessage({ type: "lines", lines: this.lines.splice(0), cursor: this.cursor });
  }

  close() {
    this.stream.close();
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
        handlers.onProven();
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
