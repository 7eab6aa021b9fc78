// The task page: connects the live socket, the lines in memory, the rows on the screen and the
// controls. Live line -> socket.js -> store.js -> blocks.js -> sections.js -> scroller.js -> rows.js.

import { Access } from "../shared/access.js";
import { fetchLines, setEpoch } from "../shared/api.js";
import { BlockView } from "../shared/blocks.js";
import { bindControls, showTimeMode } from "../shared/controls.js";
import { count, counted } from "../shared/format.js";
import { EmbeddedAccess, isEmbedded } from "./embedded.js";
import { Header } from "./header.js";
import { fillHelp } from "../shared/keys.js";
import { gapItem, isWide, Loader } from "./loader.js";
import { LogCopy } from "../shared/logcopy.js";
import { ScrollMarks } from "./marks.js";
import { EndNotification } from "./notify.js";
import { OutlinePoll } from "./outline.js";
import { PartialRows } from "./partial.js";
import { bindPrint } from "./print.js";
import { Problems } from "./problems.js";
import { Replay } from "./replay.js";
import { KEPT_BEYOND_LINES, LogPage } from "../shared/logpage.js";
import { idOfAddress } from "../shared/root.js";
import { RowBuilder, TIME_MODES } from "../shared/rows.js";
import { Scroller } from "../shared/scroller.js";
import { paintHits, Search } from "../shared/search.js";
import { onThemeChange } from "../shared/contrast.js";
import { openShareOfAddress } from "../shared/share.js";
import { OutlineRows } from "./sectionrow.js";
import { SectionView } from "./sections.js";
import { bindShare } from "./sharedialog.js";
import { LiveSocket } from "./socket.js";
import { Store } from "../shared/store.js";
import { say } from "../shared/toast.js";
import { parseView, queryWithView } from "../shared/viewstate.js";

// Limits the cost of counting the channels' lines.
const COUNT_LINES_MAX = 1000;
const COUNT_REQUESTS_MAX = 20;
const STREAMS = ["stdout", "stderr", "internal"];

/** The page of one task. */
class TaskPage extends LogPage {
  constructor(id) {
    super(id, new Store(), "line");
    this.blocks = new BlockView(this.store);
    this.view = new SectionView(this.blocks);
    this.problems = new Problems(this);
    this.builder = new RowBuilder();
    this.builder.blocks = this.blocks;
    this.builder.outline = new OutlineRows(this.builder, this.view, this.problems);
    this.header = new Header(id);
    this.notification = new EndNotification(id);
    this.marks = new ScrollMarks(document.getElementById("marks"), this.viewport);
    this.shown = new Set(STREAMS);
    this.counts = { stderr: 0, internal: 0 };
    this.counted = 0;
    this.restartSearch = () => {};
    this.logCopy = new LogCopy(id, () => this.streamFilter()?.split(",") ?? null);
    this.loader = new Loader(id, this.store, () => this.streamFilter(), () => this.scroller.invalidate());
    this.search = new Search(id, () => this.drawSearch());
    this.scroller = new Scroller(this.viewport, this.view, {
      build: (item, before) => this.builder.build(item, before),
      requestHole: (hole, upwards) => this.requestHole(hole, upwards),
      followChanged: () => this.followChanged(),
      drawn: () => this.drawn(),
    });
    this.partials = new PartialRows(this.scroller.body, (stream) => this.shown.has(stream));
    this.socket = new LiveSocket(id, {
      onOpen: (message) => this.opened(message),
      onLines: (lines) => this.addLines(lines),
      onPartial: (line) => this.setPartial(line),
      onGap: (gap) => this.addGap(gap),
      onTask: (task) => this.setTask(task),
      onReset: () => this.reset(),
      onState: (state, waitMs) => this.setConnection(state, waitMs),
      onNotice: (words) => console.warn(words),
      onTransport: (name, reason) => this.header.setTransport(name, reason),
    });
    this.outline = new OutlinePoll(id, () => ({ last: this.store.last, ended: this.ended }), (outline) => this.setOutline(outline));
    this.replay = new Replay(this);
    const restored = () => this.socket.resume();
    this.access = isEmbedded() ? new EmbeddedAccess(restored, id) : new Access(restored, id);
  }

  async start() {
    fillHelp(document.getElementById("help-keys"));
    bindControls(this);
    bindPrint(this);
    onThemeChange(() => this.scroller.rebuild());
    this.applyView();
    this.followChanged();
    await (isEmbedded() ? this.access.start() : openShareOfAddress(this.id));
    this.goToLink();
    this.socket.connect();
    bindShare(this, await this.access.load());
  }

  /** Handles a new fragment: a line, or a share of this task. */
  async hashChanged() {
    if (!isEmbedded()) await openShareOfAddress(this.id);
    this.socket.resume();
    this.goToLink();
    this.checkLink();
  }

  /** Shows the view that the page's address names. */
  applyView() {
    const view = parseView(location.search, { streams: STREAMS, timeModes: TIME_MODES });
    if (view.streams !== null) {
      this.shown = new Set(view.streams);
      this.channelsChanged();
    }
    if (view.timeMode !== null) {
      this.builder.timeMode = view.timeMode;
      showTimeMode(this);
    }
    if (view.text !== "") this.setQuery(view.text, view.regex);
  }

  /** Puts the view into the page's address. */
  viewChanged() {
    const { search, builder } = this;
    const view = { text: search.text, regex: search.regex, streams: this.streamFilter(), timeMode: builder.timeMode };
    history.replaceState(null, "", location.pathname + queryWithView(location.search, view) + location.hash);
  }

  /** Reports a linked line that the log does not have. */
  checkLink() {
    const { last } = this.store;
    if (!this.marked || last === 0 || this.marked.first <= last) return;
    const line = `Line ${count(this.marked.first)}`;
    say(this.ended ? `${line} does not exist: this log has ${counted(last, "line")}.` : `${line} is not there yet: this log has ${counted(last, "line")} so far.`);
    this.scroller.follow(true);
  }

  /** Selects the whole log for copying, or ends that. */
  selectAll(on) {
    this.logCopy.clear();
    if (on && this.store.last > 0) this.logCopy.selectAll(this.header.lines, this.header.bytes);
    this.viewport.classList.toggle("all-selected", this.logCopy.active);
    if (this.logCopy.active) document.getSelection().removeAllRanges();
  }

  /** Copies lines beyond those that are drawn; reports whether there was something to copy. */
  copyBeyond(event) {
    const selected = !document.getSelection().isCollapsed;
    const whole = this.viewport.classList.contains("all-selected");
    if (!whole && (selected || !this.marked || event.target.closest?.("input, textarea"))) return false;
    if (!whole) this.logCopy.selectRange(this.marked);
    this.logCopy.copy(event);
    return true;
  }

  get ended() {
    return this.header.ended;
  }

  /** Returns the `stream=` value, or null if every channel is shown. */
  streamFilter() {
    return this.shown.size === STREAMS.length ? null : [...this.shown].join(",");
  }

  opened(message) {
    this.partials.clear();
    setEpoch(message.epoch);
    this.setTask(message.task);
    const { store } = this;
    const fresh = store.last === 0;
    if (message.first_line > 1) {
      // One row represents all trimmed lines at the start.
      const edge = message.first_line - 1;
      if (store.first < edge) {
        store.first = edge;
        store.put(edge, edge, [{ gap: true, n: edge, to: edge, from: 1, reason: "trimmed", count: edge }]);
      }
    }
    store.grow(message.last_line);
    this.openedAt = message.last_line;
    if (!this.scroller.following) this.keepUntil = Math.max(this.keepUntil, message.last_line + KEPT_BEYOND_LINES);
    if (fresh) this.countChannels(message.last_line);
    if (this.marked && fresh) this.scroller.reveal(this.marked.first);
    if (fresh) this.checkLink();
    this.outline.markStale();
    this.scroller.invalidate();
  }

  requestHole(hole, upwards) {
    // The socket is already delivering the end of the log.
    if (this.scroller.following && this.socket.last < this.openedAt) return;
    this.loader.request(hole, upwards);
  }

  // Counts the stderr and internal lines so far; later ones are counted as they arrive.
  async countChannels(upto) {
    this.counted = upto;
    if (upto === 0) return;
    try {
      let from = 1;
      for (let asked = 0; from <= upto && asked < COUNT_REQUESTS_MAX; asked += 1) {
        const response = await fetchLines(this.id, { stream: "stderr,internal", from, limit: COUNT_LINES_MAX });
        for (const line of response.lines) if (line.n <= upto) this.counts[line.stream] += 1;
        from = response.next_line;
        if (response.lines.length >= COUNT_LINES_MAX) break;
      }
      this.capped = from <= upto;
      this.drawCounts();
    } catch {
      // The channel buttons work without counts.
    }
  }

  addLines(lines) {
    const { store, scroller } = this;
    const before = store.last;
    const hits = this.search.hits.length;
    this.partials.clear();
    for (const line of lines) {
      const fresh = line.n > before;
      const wanted = this.shown.has(line.stream);
      if (line.n > this.counted && line.stream !== "stdout") this.counts[line.stream] += 1;
      if (fresh && wanted && !scroller.following) this.unread += 1;
      if (scroller.following || line.n <= this.keepUntil) store.append(line.n, wanted ? line : null);
      else store.grow(line.n);
      this.search.addLive(line);
    }
    this.header.addLines(lines, before);
    if (this.search.hits.length > hits) this.drawSearch();
    this.outline.markStale();
    scroller.invalidate();
  }

  setPartial(line) {
    this.partials.set(line);
    this.header.setPartial(this.partials.lines.size > 0);
    this.scroller.invalidate();
  }

  addGap(gap) {
    if (!isWide(gap)) return;
    this.store.grow(gap.to);
    if (gap.to >= this.store.first) this.store.put(Math.max(gap.from, this.store.first), gap.to, [gapItem(gap)]);
    this.scroller.invalidate();
  }

  setTask(task) {
    this.builder.startMs = Date.parse(task.started ?? task.created);
    this.header.setTask(task);
    this.notification.setTask(task);
  }

  reset() {
    this.partials.clear();
    this.replay.end();
    this.loader.restart();
    this.store.clear();
    this.header.clear();
    this.counts = { stderr: 0, internal: 0 };
    this.counted = 0;
    this.unread = 0;
    this.builder.expanded.clear();
    this.scroller.reset();
  }

  /** Shows the lines of the block of line n as written, or its final state. */
  setFolded(n, folded) {
    const { scroller } = this;
    const row = scroller.rows.get(n);
    const top = row ? row.element.offsetTop - scroller.shift : 0;
    scroller.follow(false);
    scroller.anchor = { n, offset: -top };
    if (folded) this.blocks.fold(n);
    else this.blocks.unfold(n);
    scroller.rebuild();
  }

  /** Shows the sections and problems of an outline. */
  setOutline({ sections, ...problems }) {
    const { task } = this.header;
    const { following, anchor, list, height, rowHeight } = this.scroller;
    const last = list.findLast((item) => this.scroller.rows.get(item.n)?.element.offsetTop < this.scroller.shift + height - rowHeight)?.n;
    const visible = following || last === undefined ? null : { first: anchor.n, last };
    const failed = task?.ended != null && task.exit_code !== 0;
    const changed = this.view.update(sections, { visible, failed });
    if (this.problems.update(problems) || changed) this.scroller.rebuild();
  }

  /** Folds or unfolds the section that starts at a line, and keeps that line where it is. */
  toggleSection(from) {
    if (from === undefined) return;
    const { scroller, view } = this;
    const row = scroller.rows.get(view.foldUpTo(from)?.to >= from ? view.foldUpTo(from).n : from);
    view.toggle(from);
    scroller.follow(false);
    this.current = from;
    scroller.anchor = { n: from, offset: row ? scroller.shift - row.element.offsetTop : 0 };
    scroller.rebuild();
  }

  /** Folds or unfolds all sections. */
  toggleAllSections() {
    const n = this.here();
    this.view.toggleAll();
    this.scroller.rebuild();
    if (!this.scroller.following) this.scroller.reveal(n);
  }

  setConnection(state, waitMs) {
    if (state === "ended") {
      this.partials.clear();
      this.header.setPartial(false);
    }
    this.header.setConnection(this.displayState(state), waitMs);
    document.getElementById("replay-open").hidden = state !== "ended";
    if (state === "ended" || state === "live") this.outline.markStale();
    if (state === "signed_out" || state === "live" || state === "ended") this.access.setLost(state === "signed_out");
    this.access.report?.(state, this.header.task);
    this.scroller.invalidate();
  }

  // Keeps showing "not found" while the page retries in the background.
  displayState(state) {
    if (state === "not_found") this.missing = !new URLSearchParams(location.search).has("wait");
    if (state === "live" || state === "no_access" || state === "signed_out") this.missing = false;
    const again = state === "offline" || state === "connecting" || state === "waiting" || state === "not_found";
    return this.missing && again ? "not_found" : state === "not_found" ? "waiting" : state;
  }

  /** Shows or hides a channel; the last one stays. */
  toggleChannel(stream) {
    if (this.shown.has(stream) && this.shown.size === 1) {
      say(`At least one channel is shown. Show another one before you hide ${stream}.`);
      return;
    }
    if (!this.shown.delete(stream)) this.shown.add(stream);
    this.channelsChanged();
    this.viewChanged();
  }

  channelsChanged() {
    for (const button of document.querySelectorAll(".channel")) {
      button.setAttribute("aria-pressed", String(this.shown.has(button.dataset.stream)));
    }
    this.loader.restart();
    this.store.clearLines();
    this.setAllNumbersShown(this.streamFilter() === null);
    this.partials.draw();
    this.scroller.rebuild();
    this.restartSearch();
  }

  drawn() {
    this.viewport.style.setProperty("--digits", String(this.store.last).length);
    if (this.partials.setAtEnd(this.scroller.reaches("last"))) this.scroller.invalidate();
    this.drawMarks();
    this.marks.draw({ first: this.store.first, last: this.store.last, hits: this.search.hits, errors: this.problems.errors });
    this.drawPill();
    this.header.drawLive();
    this.drawCounts();
    paintHits(this.viewport.querySelectorAll(".rows > .row > .text"), this.search.local);
  }

  drawCounts() {
    this.header.drawChannels(this.counts, this.capped === true);
  }

  drawSearch() {
    const { search } = this;
    const output = document.getElementById("hits");
    output.classList.toggle("bad", search.error !== null);
    output.title = search.error ?? "";
    const total = count(search.hits.length) + (search.more ? "+" : "");
    if (search.text === "") output.textContent = "";
    else if (search.error) output.textContent = "invalid pattern";
    else if (search.hits.length === 0) output.textContent = search.busy ? "…" : "no matches";
    else output.textContent = search.at >= 0 ? `${count(search.at + 1)} of ${total}` : `${total} ${total === "1" ? "match" : "matches"}`;
    this.scroller.invalidate();
  }
}

new TaskPage(idOfAddress()).start();
