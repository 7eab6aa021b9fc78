// A run's state and the counters of the way its events come, asked for again when there is reason
// to: the state when events came, the counters every two seconds while somebody looks.

import { fetchPipeline, fetchRun } from "../shared/api.js";

// The state is asked for at most this often, and never more than a quarter of the time.
const STATE_MS = 250;
const STATE_SHARE = 4;
const PIPELINE_MS = 2000;
const RETRY_MS = 2000;

/** Asks for the run's state after `touch()`. Tells `onRun(run)` and `onFault(status)`. */
export class RunState {
  constructor(id, handlers) {
    this.id = id;
    this.handlers = handlers;
    this.stale = false;
    this.freeAt = 0;
  }

  /** Something happened that may have changed it. */
  touch() {
    this.stale = true;
    if (this.asking || this.timer) return;
    const wait = Math.max(0, this.freeAt - performance.now());
    if (wait === 0) this.ask();
    else this.later(wait);
  }

  later(wait) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), wait);
  }

  async ask() {
    clearTimeout(this.timer);
    this.timer = null;
    this.asking = true;
    this.stale = false;
    const begun = performance.now();
    let retry = null;
    try {
      this.handlers.onRun(await fetchRun(this.id));
    } catch (error) {
      if (!("status" in error)) throw error;
      this.handlers.onFault(error.status);
      // Not there yet: the stream tells when it is.
      if (error.status !== 404) retry = RETRY_MS;
    } finally {
      this.asking = false;
      const took = performance.now() - begun;
      this.freeAt = performance.now() + Math.max(STATE_MS - took, took * (STATE_SHARE - 1));
    }
    if (retry !== null) this.later(retry);
    else if (this.stale) this.touch();
  }
}

/** Asks for the hops' counters while the page is seen. Tells `onPipeline(pipeline or null)`. */
export class PipelinePoll {
  constructor(onPipeline) {
    this.onPipeline = onPipeline;
  }

  start() {
    document.addEventListener("visibilitychange", () => this.ask());
    this.ask();
  }

  async ask() {
    clearTimeout(this.timer);
    if (document.hidden || this.asking) return;
    this.asking = true;
    this.onPipeline(await fetchPipeline().catch(() => null));
    this.asking = false;
    this.timer = setTimeout(() => this.ask(), PIPELINE_MS);
  }
}
