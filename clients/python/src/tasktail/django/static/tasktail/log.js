// <tasktail-log server task share renew>: the live log of one task on a page of another site.
//
// The log is read from the server with fetch and server-sent events; the share is sent as a header. Log text is
// never parsed as HTML. `renew` is a URL of the page's own site that returns a new share as {"share":"..."}.

const ROWS_MAX = 5000;
const TAIL = 1000;
const PAUSE_MS = 2000;
const SILENCE_MS = 45000;

const STYLE = `
:host { display: block; font: 13px/1.45 ui-monospace, monospace; color-scheme: light dark; }
.head { display: flex; gap: 1em; padding: 0.4em 0.6em; border: 1px solid light-dark(#d0d7de, #30363d); border-bottom: 0; }
.state { font-weight: 600; }
.rows { height: var(--tasktail-height, 24em); overflow: auto; overflow-anchor: none; padding: 0.4em 0;
  background: light-dark(#fff, #0d1117); color: light-dark(#1f2328, #e6edf3); border: 1px solid light-dark(#d0d7de, #30363d); }
.row { padding: 0 0.6em; white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid transparent; }
.stderr { border-left-color: light-dark(#bf8700, #d29922); }
.internal, .gap { color: light-dark(#59636e, #9198a1); font-style: italic; }
a { color: inherit; }
`;

// Escape sequences of a terminal, and other control characters.
const CONTROL =
  /\x1b\[[0-?]*[ -\/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -\/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

/** Returns what a terminal would show of a line: without control sequences, and after the last carriage return. */
function shown(line) {
  const text = line.replace(/\r+$/, "");
  return text.slice(text.lastIndexOf("\r") + 1).replace(CONTROL, "");
}

class TasktailLog extends HTMLElement {
  #rows;
  #state;
  #stop;
  #cursor = null;
  #share;

  connectedCallback() {
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const head = element("div", "head");
    this.#state = element("span", "state", "connecting");
    this.#state.setAttribute("role", "status");
    const link = element("a", "", "full log");
    link.target = "_blank";
    link.rel = "noopener";
    link.addEventListener("click", () => { link.href = this.#page(); });
    link.href = this.#page();
    this.#rows = element("div", "rows");
    this.#rows.setAttribute("role", "log");
    this.#rows.setAttribute("aria-live", "off");
    this.#rows.setAttribute("aria-label", `log of ${this.getAttribute("task")}`);
    this.#rows.tabIndex = 0;
    head.append(this.#state, link);
    root.replaceChildren(head, this.#rows);
    this.#share = this.getAttribute("share");
    this.#stop = new AbortController();
    this.#run(this.#stop.signal);
  }

  disconnectedCallback() {
    this.#stop.abort();
  }

  get #server() {
    return this.getAttribute("server").replace(/\/+$/, "");
  }

  #page() {
    const share = this.#share ? `#share=${this.#share}` : "";
    return `${this.#server}/tasks/${encodeURIComponent(this.getAttribute("task"))}${share}`;
  }

  async #run(signal) {
    while (!signal.aborted) {
      try {
        if (await this.#read(signal)) return;
        this.#show("reconnecting");
      } catch (error) {
        if (signal.aborted) return;
        this.#show(error instanceof Refused ? error.message : "reconnecting");
        if (error instanceof Refused && error.status !== 404) await this.#renew(signal);
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  /** Reads the stream until it ends. Returns true if the task has ended. */
  async #read(signal) {
    const task = encodeURIComponent(this.getAttribute("task"));
    const headers = { accept: "text/event-stream" };
    if (this.#share) headers["tasktail-share"] = this.#share;
    if (this.#cursor) headers["last-event-id"] = this.#cursor;
    const connection = new AbortController();
    const abort = () => connection.abort();
    signal.addEventListener("abort", abort, { once: true });
    let silence = setTimeout(abort, SILENCE_MS);
    try {
      const url = `${this.#server}/api/v1/tasks/${task}/stream?tail=${TAIL}`;
      const response = await fetch(url, { headers, credentials: "omit", cache: "no-store", signal: connection.signal });
      if (response.status === 204) return true;
      if (!response.ok) throw new Refused(response.status);
      this.#show("running");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return false;
        clearTimeout(silence);
        silence = setTimeout(abort, SILENCE_MS);
        text += value;
        const events = text.split("\n\n");
        text = events.pop();
        if (this.#take(events)) return true;
      }
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", abort);
    }
  }

  /** Shows events. Returns true at the end of the task. */
  #take(events) {
    const follow = this.#rows.scrollTop + this.#rows.clientHeight >= this.#rows.scrollHeight - 4;
    const added = document.createDocumentFragment();
    let ended = null;
    for (const event of events) {
      const fields = new Map();
      for (const line of event.split("\n")) {
        const at = line.indexOf(":");
        if (at > 0) fields.set(line.slice(0, at), line.slice(at + 1).replace(/^ /, ""));
      }
      if (fields.has("id")) this.#cursor = fields.get("id");
      if (!fields.has("data")) continue;
      const data = JSON.parse(fields.get("data"));
      const kind = fields.get("event") ?? "message";
      if (kind === "message") added.append(element("div", `row ${data.stream}`, shown(data.line)));
      else if (kind === "gap" && !data.marked) added.append(element("div", "row gap", `[lines ${data.from} to ${data.to}: ${data.reason}]`));
      else if (kind === "end") ended = data.task;
    }
    this.#rows.append(added);
    while (this.#rows.childElementCount > ROWS_MAX) this.#rows.firstElementChild.remove();
    if (follow) this.#rows.scrollTop = this.#rows.scrollHeight;
    if (!ended) return false;
    const code = ended.signal !== null ? `signal ${ended.signal}` : `exit code ${ended.exit_code}`;
    this.#show(ended.exit_code === null && ended.signal === null ? ended.status : `${ended.status}, ${code}`);
    return true;
  }

  async #renew(signal) {
    const url = this.getAttribute("renew");
    if (!url) return;
    try {
      const response = await fetch(url, { headers: { accept: "application/json" }, signal });
      if (response.ok) this.#share = (await response.json()).share;
      else this.#show("you may not see this log any more");
    } catch {
      // The site does not answer; the next attempt asks again.
    }
  }

  #show(state) {
    this.#state.textContent = state;
  }
}

/** The server answered with an error. */
class Refused extends Error {
  constructor(status) {
    super(status === 404 ? "waiting for the task" : `not readable (${status})`);
    this.status = status;
  }
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

if (!customElements.get("tasktail-log")) customElements.define("tasktail-log", TasktailLog);
