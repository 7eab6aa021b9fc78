// The outline of a task's log, its sections and problems: loaded from the server, and again while the
// log grows and the page is visible.

import { fetchOutline } from "../shared/api.js";

const POLL_MS = 2000;
// The server examines a long log in several requests.
const CONTINUE_MS = 200;
// Polling uses at most this part of the time.
const SHARE = 10;

/** A loader of the outline. */
export class OutlinePoll {
  /** `progress()` returns `{ last, ended }` of the log; `changed(outline)` is called with each new outline. */
  constructor(id, progress, changed) {
    this.id = id;
    this.progress = progress;
    this.changed = changed;
    this.scanned = -1;
    this.done = false;
    document.addEventListener("visibilitychange", () => this.load());
  }

  /** Notes that the log may have changed. */
  markStale() {
    this.done = false;
    if (!this.timer && !this.loading) this.load();
  }

  async load() {
    clearTimeout(this.timer);
    this.timer = null;
    if (document.hidden || this.loading || this.done) return;
    this.loading = true;
    const started = performance.now();
    const { last, ended } = this.progress();
    const before = this.scanned;
    const outline = last > this.scanned || ended ? await fetchOutline(this.id).catch((error) => ({ error })) : null;
    this.loading = false;
    // A server without the route, or without the task: the page works without an outline.
    if (outline?.error) {
      this.done = outline.error.status === 404 || outline.error.status === 403;
    } else if (outline !== null) {
      this.scanned = outline.scanned_to;
      this.done = ended && (outline.truncated || outline.scanned_to >= last);
      this.changed(outline);
    }
    if (this.done) return;
    const behind = outline && !outline.error && outline.scanned_to < last && outline.scanned_to > before;
    const pause = behind ? CONTINUE_MS : Math.max(POLL_MS, (performance.now() - started) * SHARE);
    this.timer = setTimeout(() => this.load(), pause);
  }
}
