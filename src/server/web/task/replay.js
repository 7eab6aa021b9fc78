// The replay of a finished task: its lines appear with their original timing or faster. Long pauses are
// shortened. The replay is the live view of a log that ends at the replayed line.

import { fetchLines } from "../shared/api.js";
import { byId, setText } from "../shared/dom.js";
import { duration } from "../shared/format.js";
import { say } from "../shared/toast.js";

const PAGE_LINES = 500;
/** The longest time without a new line, in milliseconds. */
const PAUSE_MS_MAX = 2000;
const FRAME_LINES_MAX = 2000;
const SPEEDS = [1, 4, 16, 64];

/** The replay of a task's log. */
export class Replay {
  constructor(page) {
    this.page = page;
    this.active = false;
    this.playing = false;
    this.speed = 1;
    this.bar = byId("replay");
    byId("replay-open").addEventListener("click", () => this.toggle());
    byId("replay-play").addEventListener("click", () => this.play(!this.playing));
    byId("replay-end").addEventListener("click", () => this.end());
    byId("replay-at").addEventListener("change", (event) => this.seek(Number(event.target.value)));
    for (const button of this.bar.querySelectorAll("[data-speed]")) {
      button.addEventListener("click", () => this.setSpeed(Number(button.dataset.speed)));
    }
  }

  toggle() {
    if (this.active) this.end();
    else this.start();
  }

  start() {
    const { page } = this;
    if (!page.ended || page.store.last === 0) return say("A task can be replayed when it has ended.");
    this.active = true;
    this.total = page.store.last;
    this.bar.hidden = false;
    Object.assign(byId("replay-at"), { min: page.store.first, max: this.total });
    page.view.pause(true);
    this.seek(page.store.first - 1);
    page.scroller.follow(true);
    this.play(true);
    return byId("replay-play").focus();
  }

  /** Ends the replay: the page shows the whole log again. */
  end() {
    if (!this.active) return;
    this.active = false;
    this.playing = false;
    this.abort?.abort();
    this.bar.hidden = true;
    const { page } = this;
    page.view.pause(false);
    page.store.grow(this.total);
    page.scroller.rebuild();
    page.viewport.focus({ preventScroll: true });
  }

  /** Shows the log as it was after line n, and goes on from there. */
  seek(n) {
    const { page } = this;
    this.abort?.abort();
    this.abort = new AbortController();
    this.at = n;
    this.lines = [];
    this.next = n + 1;
    this.before = null;
    this.due = performance.now();
    page.store.clearLines();
    page.store.last = n;
    page.loader.restart();
    page.scroller.rebuild();
    this.fill();
    this.draw();
  }

  play(on) {
    this.playing = on;
    setText(byId("replay-play"), on ? "Pause" : "Play");
    if (!on) return;
    if (this.at >= this.total) this.seek(this.page.store.first - 1);
    this.due = performance.now();
    this.schedule();
  }

  setSpeed(speed) {
    this.speed = speed;
    for (const button of this.bar.querySelectorAll("[data-speed]")) button.setAttribute("aria-pressed", String(Number(button.dataset.speed) === speed));
  }

  /** Selects the next higher or lower speed. */
  changeSpeed(step) {
    const at = SPEEDS.indexOf(this.speed) + step;
    if (this.active && SPEEDS[at] !== undefined) this.setSpeed(SPEEDS[at]);
  }

  // Loads lines ahead of those that are shown.
  async fill() {
    const { signal } = this.abort;
    if (this.filling === signal || this.next > this.total || this.lines.length >= PAGE_LINES) return;
    this.filling = signal;
    try {
      const response = await fetchLines(this.page.id, { from: this.next, limit: PAGE_LINES }, signal);
      if (signal.aborted) return;
      this.lines.push(...response.lines.filter((line) => line.n <= this.total));
      this.next = Math.max(this.next + 1, response.next_line);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.play(false);
      say(`The replay stopped: ${error.message}.`);
    } finally {
      if (this.filling === signal) this.filling = null;
    }
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      if (!this.active || !this.playing) return;
      this.step(performance.now());
      this.schedule();
    });
  }

  // Shows the lines that are due.
  step(now) {
    const { page, lines } = this;
    let shown = 0;
    while (shown < lines.length && shown < FRAME_LINES_MAX) {
      const line = lines[shown];
      const due = this.due + this.pauseBefore(line);
      if (due > now) break;
      this.due = due;
      this.before = line;
      this.at = line.n;
      page.store.append(line.n, page.shown.has(line.stream) ? line : null);
      shown += 1;
    }
    lines.splice(0, shown);
    if (lines.length === 0 && this.next > this.total) this.at = this.total;
    // Time does not pass while lines are loading.
    if (lines.length === 0) this.due = Math.max(this.due, now);
    this.fill();
    if (shown > 0) page.scroller.invalidate();
    this.draw();
    if (this.at >= this.total) this.play(false);
  }

  pauseBefore(line) {
    if (this.before === null) return 0;
    const pause = Date.parse(line.timestamp) - Date.parse(this.before.timestamp);
    return Math.min(PAUSE_MS_MAX, Math.max(0, pause) / this.speed);
  }

  draw() {
    const { page, before } = this;
    const input = byId("replay-at");
    if (document.activeElement !== input || this.playing) input.value = String(this.at);
    const start = page.builder.startMs ?? NaN;
    const passed = before === null ? 0 : Date.parse(before.timestamp) - start;
    const { task } = page.header;
    const whole = task?.ended ? Date.parse(task.ended) - start : NaN;
    setText(byId("replay-time"), Number.isNaN(whole) ? duration(passed) : `${duration(passed)} of ${duration(whole)}`);
  }
}
