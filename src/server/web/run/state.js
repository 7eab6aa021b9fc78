// Loads a run's state and the event pipeline's counters: the state after new events, the counters
// every two seconds while the page is visible.

import { fetchPipeline, fetchRun, fetchRunPipeline } from "../shared/api.js";

// The minimum time between two loads of the state, which also take at most a quarter of the time.
const STATE_MS = 250;
const STATE_SHARE = 4;
const PIPELINE_MS = 2000;
const RETRY_MS = 2000;

/** A loader of the run's state, started by `markStale()`. Calls `onRun(run)` or `onError(status)`. */
export class RunState {
  constructor(id, handlers) {
    this.id = id;
    this.handlers = handlers;
    this.stale = false;
    this.freeAt = 0;
  }

  /** Notes that the state may have changed, and loads it soon. */
  markStale() {
    this.stale = true;
    if (this.loading || this.timer) return;
    const wait = Math.max(0, this.freeAt - performance.now());
    if (wait === 0) this.load();
    else this.schedule(wait);
  }

  schedule(wait) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), wait);
  }

  async load() {
    clearTimeout(this.timer);
    this.timer = null;
    this.loading = true;
    this.stale = false;
    const started = performance.now();
    let retry = null;
    try {
      this.handlers.onRun(await fetchRun(this.id));
    } catch (error) {
      if (!("status" in error)) throw error;
      this.handlers.onError(error.status);
      // The run does not exist yet; the stream will announce it.
      if (error.status !== 404) retry = RETRY_MS;
    } finally {
      this.loading = false;
      const took = performance.now() - started;
      this.freeAt = performance.now() + Math.max(STATE_MS - took, took * (STATE_SHARE - 1));
    }
    if (retry !== null) this.schedule(retry);
    else if (this.stale) this.markStale();
  }
}

/**
 * A poller of the counters while the page is visible: those of the run, and those of the whole server while
 * `isServerShown()`. Calls `onPipeline(own, server)`; each may be null.
 */
export class PipelinePoll {
  constructor(id, isServerShown, onPipeline) {
    this.id = id;
    this.isServerShown = isServerShown;
    this.onPipeline = onPipeline;
  }

  start() {
    document.addEventListener("visibilitychange", () => this.load());
    this.load();
  }

  async load() {
    clearTimeout(this.timer);
    if (document.hidden || this.loading) return;
    this.loading = true;
    const own = fetchRunPipeline(this.id).catch(() => null);
    const server = this.isServerShown() ? fetchPipeline().catch(() => null) : null;
    this.onPipeline(await own, await server);
    this.loading = false;
    this.timer = setTimeout(() => this.load(), PIPELINE_MS);
  }
}
