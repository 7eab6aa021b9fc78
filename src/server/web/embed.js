// <tasktail-log server task share renew theme>: the live log of one task on a page of another site.
//
// The log is a frame of the server, which permits it with the setting `frame_ancestors`. The share is never part of an
// address: it is sent to the frame, and only to the server's origin. `renew` is an address of the page's own site that
// returns a new share as {"share":"..."} when the old one is not valid any more.
//
// The log is light or dark as the browser prefers, or as `theme` ("light" or "dark") sets it.
//
// A strict policy of the page needs `script-src SERVER` and `frame-src SERVER`.

(() => {
  const RENEW_MS = 5000;
  const STYLE = ":host { display: block; height: var(--tasktail-height, 24em); } " +
    "iframe { display: block; width: 100%; height: 100%; border: 0; }";

  // The folder of this script's own address, for an element without `server`.
  const source = document.currentScript?.src;
  const home = source ? new URL("..", source).href : null;

  class TasktailLog extends HTMLElement {
    static observedAttributes = ["server", "task", "share", "theme"];

    #frame = null;
    #share = null;
    #renewed = -Infinity;
    #listener = (event) => this.#receive(event);

    connectedCallback() {
      const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
      root.adoptedStyleSheets = [sheet];
      addEventListener("message", this.#listener);
      this.#load();
    }

    disconnectedCallback() {
      removeEventListener("message", this.#listener);
      this.#frame?.remove();
      this.#frame = null;
    }

    attributeChangedCallback(name) {
      if (this.#frame === null) return;
      if (name === "server" || name === "task") this.#load();
      if (name === "share") this.#sendShare(this.getAttribute("share"));
      if (name === "theme") this.#sendTheme();
    }

    get #server() {
      const server = this.getAttribute("server") ?? home;
      return server === null ? null : new URL(server.endsWith("/") ? server : `${server}/`, document.baseURI);
    }

    #load() {
      const task = this.getAttribute("task");
      const server = this.#server;
      this.#frame?.remove();
      if (!task || server === null) return;
      this.#share = this.getAttribute("share");
      this.#frame = document.createElement("iframe");
      this.#frame.title = `log of ${task}`;
      this.#frame.allow = "clipboard-write";
      this.#frame.referrerPolicy = "no-referrer";
      this.#frame.src = new URL(`embed/${encodeURIComponent(task)}`, server).href;
      this.shadowRoot.append(this.#frame);
    }

    #sendShare(share) {
      this.#share = share;
      this.#send({ type: "tasktail-share", share });
    }

    #sendTheme() {
      this.#send({ type: "tasktail-theme", theme: this.getAttribute("theme") });
    }

    #send(message) {
      this.#frame.contentWindow?.postMessage(message, this.#server.origin);
    }

    #receive(event) {
      if (event.source === null || event.source !== this.#frame?.contentWindow || event.origin !== this.#server.origin) return;
      if (event.data?.type === "tasktail-ready") {
        if (this.hasAttribute("theme")) this.#sendTheme();
        this.#sendShare(this.#share);
      }
      if (event.data?.type === "tasktail-refused") this.#renew();
      if (event.data?.type === "tasktail-state") {
        const { state, status, exit_code } = event.data;
        this.dataset.state = state;
        this.dispatchEvent(new CustomEvent("tasktail-state", { bubbles: true, detail: { state, status, exit_code } }));
      }
    }

    async #renew() {
      const url = this.getAttribute("renew");
      if (!url || performance.now() - this.#renewed < RENEW_MS) return;
      this.#renewed = performance.now();
      try {
        const response = await fetch(url, { headers: { accept: "application/json" } });
        if (response.ok && this.#frame !== null) this.#sendShare((await response.json()).share);
      } catch {
        // The page's site does not answer; the frame shows that the log is not readable.
      }
    }
  }

  if (!customElements.get("tasktail-log")) customElements.define("tasktail-log", TasktailLog);
})();
