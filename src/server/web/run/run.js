// The run page: connects the live events, the state that the server derives from them, the counters
// of the event pipeline, and the three panels. Event -> feed.js -> log.js -> scroller.js.

import { Access, signInLink } from "../shared/access.js";
import { announce } from "../shared/announce.js";
import { byId, setText } from "../shared/dom.js";
import { EventRowBuilder } from "./eventrow.js";
import { kindOf, markOf, receivedAt } from "./events.js";
import { count, dateTime, duration } from "../shared/format.js";
import { setIcon } from "../shared/icon.js";
import { fillHelp, RUN_KEYS } from "../shared/keys.js";
import { LogPage } from "../shared/logpage.js";
import { bindRunControls } from "./controls.js";
import { RunFeed } from "./feed.js";
import { RunJournal } from "./journal.js";
import { RunLog } from "./log.js";
import { PipelinePoll, RunState } from "./state.js";
import { RunStatus } from "./status.js";
import { linkTasks } from "./tasks.js";
import { Scroller } from "../shared/scroller.js";
import { paintHits } from "../shared/search.js";
import { RUN_NOTICES } from "../shared/notices.js";
import { idOfAddress } from "../shared/root.js";

const TICK_MS = 1000;

// The state shown in the header if access is denied.
const REFUSED = { no_access: "no access", signed_out: "signed out" };

/** The page of one run. */
class RunPage extends LogPage {
  constructor(id) {
    const log = new RunLog(id, () => this.scroller.invalidate());
    super(id, log.rows, "event");
    this.log = log;
    this.run = null;
    this.seen = 0;
    this.longest = 0;
    this.builder = new EventRowBuilder();
    this.journal = new RunJournal();
    this.status = new RunStatus();
    this.scroller = new Scroller(this.viewport, log.rows, {
      build: (item, before) => this.builder.build(item, before),
      requestHole: (hole, upwards) => log.request(hole, upwards),
      followChanged: () => this.followChanged(),
      drawn: () => this.drawn(),
    });
    this.state = new RunState(id, { onRun: (run) => this.setRun(run), onError: (status) => this.stateFailed(status) });
    const server = byId("server-stages");
    this.pipeline = new PipelinePoll(id, () => server.open, (own, all) => this.status.setPipeline(own, all));
    server.addEventListener("toggle", () => this.pipeline.load());
    this.feed = new RunFeed(id, {
      onEvents: (items, initial) => this.addEvents(items, initial),
      onReset: () => this.reset(),
      onState: (state, waitMs) => this.setConnection(state, waitMs),
      onTransport: (name, reason) => this.setTransport(name, reason),
    });
    this.access = new Access(() => this.feed.resume());
  }

  start() {
    setText(byId("run-id"), this.id);
    byId("run-id").title = this.id;
    fillHelp(byId("help-keys"), RUN_KEYS);
    bindRunControls(this);
    this.setAllNumbersShown(this.log.showsAll);
    this.followChanged();
    this.goToLink();
    this.feed.connect();
    this.state.markStale();
    this.pipeline.start();
    this.access.load();
    this.tick();
    setInterval(() => this.tick(), TICK_MS);
  }

  addEvents(items, initial) {
    const { log, scroller } = this;
    for (const item of items) {
      const fresh = item.n > log.raw.last;
      const from = initial && item === items[0] ? item.n : this.seen + 1;
      const wanted = log.append(item, from, scroller.following || item.n <= this.keepUntil);
      if (fresh && wanted && !scroller.following) this.unread += 1;
      this.seen = item.n;
    }
    // Earlier events count with the time when the server received them.
    this.status.noteEvent(initial ? receivedAt(items[items.length - 1]) || Date.now() : Date.now());
    this.missing = false;
    this.builder.startMs ??= items[0].at;
    this.state.markStale();
    this.tick();
    scroller.invalidate();
  }

  setRun(run) {
    this.run = run;
    this.missing = false;
    this.status.run = run;
    const started = Date.parse(run.started ?? "");
    if (!Number.isNaN(started)) this.builder.startMs = started;
    this.journal.draw(run);
    this.feed.checkBacklog(run.events);
    this.tick();
  }

  stateFailed(status) {
    if (status === 404 && this.seen === 0) this.missing = true;
    this.tick();
  }

  reset() {
    this.log.clear();
    this.status.clear();
    this.journal.clear();
    this.run = null;
    this.seen = 0;
    this.unread = 0;
    this.builder.expanded.clear();
    this.scroller.reset();
    this.state.markStale();
  }

  setConnection(state, waitMs) {
    this.connection = state;
    this.status.connection = state;
    this.status.retryAt = waitMs === undefined ? 0 : Date.now() + waitMs;
    document.documentElement.dataset.connection = state;
    if (state === "live") {
      this.state.markStale();
      linkTasks(this.id);
    }
    if (state === "signed_out" || state === "live") this.access.setLost(state === "signed_out");
    this.tick();
  }

  setTransport(name, reason) {
    this.status.transport = name;
    document.documentElement.dataset.transport = name;
    byId("link").title = reason;
    this.tick();
  }

  /** Changes which rows are shown and keeps the reading position. */
  show(changes) {
    const at = this.scroller.following ? null : this.here();
    this.log.show(changes);
    this.setAllNumbersShown(this.log.showsAll);
    this.scroller.rebuild();
    if (at !== null) this.scroller.reveal(Math.min(at, this.store.last));
    byId("mode").textContent = this.log.summary ? "summary" : "all";
    byId("mode").setAttribute("aria-pressed", String(this.log.summary));
    byId("failures").setAttribute("aria-pressed", String(this.log.failuresOnly));
    this.tick();
  }

  /** Reveals the next or the previous failure; wraps around at the ends. */
  async goToFailure(next) {
    const { log } = this;
    if (this.run?.failures === 0) return;
    const row = this.scroller.rows.get(this.here());
    const from = row?.item.last ?? this.here();
    const find = (n) => (next ? log.nextFailure(n) : log.previousFailure(n)).catch(() => null);
    this.goTo((await find(next ? from : this.here())) ?? (await find(next ? 0 : log.raw.last + 1)));
  }

  drawn() {
    this.viewport.style.setProperty("--digits", String(this.store.last).length);
    this.alignTexts();
    this.drawMarks();
    this.drawPill();
    this.drawNotice();
    const [first] = this.log.words;
    paintHits(this.viewport.querySelectorAll(".row > .text, .row > .who"), first === undefined ? null : hitPattern(this.log.words));
  }

  // Aligns the texts after the longest name so far.
  alignTexts() {
    const longest = this.scroller.list.reduce((most, item) => Math.max(most, item.who?.length ?? 0), 0);
    if (longest <= this.longest) return;
    this.longest = longest;
    this.viewport.style.setProperty("--who", longest);
  }

  tick() {
    const { run } = this;
    const status = run?.status ?? null;
    const mark = status === null ? "○" : markOf(status);
    const words = status ?? (this.refused ? REFUSED[this.connection] : this.missing ? "not found" : this.seen > 0 ? "…" : "waiting");
    setText(byId("state"), `${mark} ${words}`);
    announce(this.connection === "offline" ? "Offline" : `Run ${words}`);
    byId("state").className = `badge ${kindOf(mark)}`;
    document.documentElement.dataset.state = status ?? "none";
    setText(byId("phase"), run?.state && run.state !== status ? run.state : "");
    setText(byId("reason"), run?.reason ?? "");
    byId("reason").title = run?.reason ?? "";
    this.drawElapsed();
    setText(byId("counts"), run === null ? "" : `${count(Math.max(run.events, this.seen))} events`);
    setText(byId("failure-count"), run?.failures > 0 ? count(run.failures) : "");
    this.status.missing = this.missing === true;
    this.status.draw();
    this.drawNotice();
    document.title = `${mark} ${this.id} · ${words} · tasktail`;
    const icon = { "✓": "ok", "✗": "failed", "⟳": "running", "⊘": "aborted", "◑": "lost" }[mark] ?? "idle";
    setIcon(this.connection === "offline" && !run?.ended ? "offline" : icon);
  }

  get refused() {
    return this.connection in REFUSED;
  }

  drawElapsed() {
    const { run } = this;
    const started = Date.parse(run?.started ?? "");
    const ended = Date.parse(run?.ended ?? "");
    setText(byId("elapsed"), Number.isNaN(started) ? "" : duration((Number.isNaN(ended) ? Date.now() : ended) - started));
    const title = Number.isNaN(started) ? "" : `started ${dateTime(started)}`;
    byId("elapsed").title = Number.isNaN(ended) ? title : `${title}, ended ${dateTime(ended)}`;
  }

  drawNotice() {
    const notice = byId("notice");
    const name = this.noticeName();
    if (notice.dataset.name === (name ?? "")) return;
    notice.dataset.name = name ?? "";
    notice.hidden = name === null;
    if (name === null) return;
    const [title, words] = RUN_NOTICES[name];
    const head = Object.assign(document.createElement("h2"), { textContent: title });
    notice.replaceChildren(head, Object.assign(document.createElement("p"), { textContent: words }));
    if (name in REFUSED) notice.append(signInLink());
  }

  noticeName() {
    if (this.seen > 0) return this.log.filtered && this.scroller.list.length === 0 ? "no_match" : null;
    if (this.refused) return this.connection;
    if (this.missing) return new URLSearchParams(location.search).has("wait") ? "waiting_run" : "not_found";
    return { live: "waiting", offline: "offline" }[this.connection] ?? "connecting";
  }
}

function hitPattern(words) {
  const escaped = words.map((word) => word.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(escaped.join("|"), "gi");
}

new RunPage(idOfAddress()).start();
