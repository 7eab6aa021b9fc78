// The task page in a frame of another site. Cookies do not reach it there, so it reads with a share: that of its own
// address (`#share=SHARE`), or one that the embedding page sends. That page may also set the colours.

import { setShare } from "../shared/api.js";
import { setTheme } from "../shared/contrast.js";
import { byId, make } from "../shared/dom.js";
import { TASK_NOTICES } from "../shared/notices.js";
import { at } from "../shared/root.js";
import { splitFragment } from "../shared/share.js";

// Longest wait for the share of an embedding page that sends none.
const SHARE_MS = 1000;
const REFUSED = ["signed_out", "no_access"];

/** Reports whether the page is shown for a frame. */
export const isEmbedded = () => document.body.classList.contains("embed");

/** The access of an embedded page, in place of a session. */
export class EmbeddedAccess {
  /** Calls `onRestored()` when another share arrives. */
  constructor(onRestored, task) {
    this.onRestored = onRestored;
    this.task = task;
    const words = "The link of this page to the log is not valid any more.";
    TASK_NOTICES.signed_out = ["Not readable", words];
    TASK_NOTICES.no_access = ["Not readable", words];
    this.link = make("a", { id: "embed-open", target: "_blank", rel: "noopener", title: "Open the log in a new tab", textContent: "full log ↗" });
    document.querySelector("header .bar.facts").append(this.link);
    this.accept(null);
  }

  /** Waits for the share with which to read. */
  async start() {
    const { share, rest } = splitFragment(location.hash);
    if (share !== null) {
      this.accept(share);
      history.replaceState(null, "", location.pathname + location.search + rest);
    }
    if (parent === window) return;
    const received = new Promise((resolve) => {
      addEventListener("message", (event) => {
        if (event.source !== parent) return;
        if (event.data?.type === "tasktail-theme") setTheme(event.data.theme);
        if (event.data?.type !== "tasktail-share") return;
        this.accept(event.data.share ?? null);
        resolve();
        this.onRestored();
      });
    });
    this.post({ type: "tasktail-ready" });
    if (share === null) await Promise.race([received, new Promise((resolve) => setTimeout(resolve, SHARE_MS))]);
  }

  accept(share) {
    setShare(share);
    const fragment = share === null ? "" : `#share=${share}`;
    this.link.href = at(`/tasks/${encodeURIComponent(this.task)}${fragment}`);
  }

  /** Reports the state of the page to the embedding one. */
  report(state, task) {
    const text = JSON.stringify([state, task?.status]);
    if (text === this.reported) return;
    this.reported = text;
    this.post({ type: "tasktail-state", state, status: task?.status ?? null, exit_code: task?.exit_code ?? null });
    if (REFUSED.includes(state)) this.post({ type: "tasktail-refused" });
  }

  // Nothing secret is sent: the page of any permitted site may listen.
  post(message) {
    if (parent !== window) parent.postMessage(message, "*");
  }

  async load() {
    return null;
  }

  setLost() {}
}
