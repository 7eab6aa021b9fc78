// The page of one task: wires the connection, the lines it holds, the rows on the screen and the
// controls. Live line -> socket.js -> store.js -> scroller.js -> rows.js.

import { Access } from "../shared/access.js";
import { fetchLines } from "../shared/api.js";
import { bindControls } from "../shared/controls.js";
import { count } from "../shared/format.js";
import { Header } from "./header.js";
import { fillHelp } from "../shared/keys.js";
import { gapItem, isWide, Loader } from "./loader.js";
import { KEPT_BEYOND_LINES, LogPage } from "../shared/logpage.js";
import { RowBuilder } from "../shared/rows.js";
import { Scroller } from "../shared/scroller.js";
import { paintHits, Search } from "../shared/search.js";
import { openShareOfAddress } from "../shared/share.js";
import { bindShare } from "./sharedialog.js";
import { LiveSocket } from "./socket.js";
import { Store } from "../shared/store.js";

// Counting stops where it would cost more than it tells.
const COUNT_LINES_MAX = 1000;
const COUNT_REQUESTS_MAX = 20;
const STREAMS = ["stdout", "stderr", "internal"];

class TaskPage extends LogPage {
  constructor(id) {
    super(id, new Store(), "line");
    this.builder = new RowBuilder();
    this.header = new Header(id);
    this.shown = new Set(STREAMS);
    this.counts = { stderr: 0, internal: 0 };
    this.counted = 0;
    this.searchAgain = () => {};
    this.loader = new Loader(id, this.store, () => this.streamWords(), () => this.scroller.invalidate());
    this.search = new Search(id, () => this.drawSearch());
    this.scroller = new Scroller(this.viewport, this.store, {
      build: (item, before) => this.builder.build(item, before),
      want: (hole, upwards) => this.want(hole, upwards),
      followChanged: () => this.followChanged(),
      drawn: () => this.drawn(),
    });
    this.socket = new LiveSocket(id, {
      onOpen: (message) => this.opened(message),
      onLines: (lines) => this.live(lines),
      onGap: (gap) => this.gap(gap),
      onTask: (task) => this.task(task),
      onReset: () => this.reset(),
      onState: (state, waitMs) => this.connection(state, waitMs),
      onNotice: (words) => console.warn(words),
    });
    this.access = new Access(() => this.socket.again(), id);
  }

  async start() {
    fillHelp(document.getElementById("help-keys"));
    bindControls(this);
    this.followChanged();
    await openShareOfAddress(this.id);
    this.goToLink();
    this.socket.connect();
    bindShare(this, await this.access.learn());
  }

  /** The fragment is another one: a line, or a share of this task. */
  async hashChanged() {
    await openShareOfAddress(this.id);
    this.socket.again();
    this.goToLink();
  }

  get over() {
    return this.header.over;
  }

  /** `stream=` for the server, or null when every channel is shown. */
  streamWords() {
    return this.shown.size === STREAMS.length ? null : [...this.shown].join(",");
  }

  opened(message) {
    this.task(message.task);
    const { store } = this;
    const fresh = store.last === 0;
    if (message.first_line > 1) {
      // One row stands for all that is gone at the beginning.
      const edge = message.first_line - 1;
      if (store.first < edge) {
        store.first = edge;
        store.put(edge, edge, [{ gap: true, n: edge, to: edge, from: 1, reason: "trimmed", count: edge }]);
      }
    }
    store.grow(message.last_line);
    this.openedAt = message.last_line;
    if (!this.scroller.following) this.keepUpto = Math.max(this.keepUpto, message.last_line + KEPT_BEYOND_LINES);
    if (fresh) this.countChannels(message.last_line);
    if (this.marked && fresh) this.scroller.reveal(this.marked.first);
    this.scroller.invalidate();
  }

  want(hole, upwards) {
    // The end of the log is on its way through the socket already.
    if (this.scroller.following && this.socket.last < this.openedAt) return;
    this.loader.want(hole, upwards);
  }

  // The stderr and internal lines so far; what comes behind is counted as it comes.
  async countChannels(upto) {
    this.counted = upto;
    if (upto === 0) return;
    try {
      let from = 1;
      for (let asked = 0; from <= upto && asked < COUNT_REQUESTS_MAX; asked += 1) {
        const answer = await fetchLines(this.id, { stream: "stderr,internal", from, limit: COUNT_LINES_MAX });
        for (const line of answer.lines) if (line.n <= upto) this.counts[line.stream] += 1;
        from = answer.next_line;
        if (answer.lines.length >= COUNT_LINES_MAX) break;
      }
      this.capped = from <= upto;
      this.drawCounts();
    } catch {
      // The switches work without counts.
    }
  }

  live(lines) {
    const { store, scroller } = this;
    const before = store.last;
    const hits = this.search.hits.length;
    for (const line of lines) {
      const fresh = line.n > before;
      const wanted = this.shown.has(line.stream);
      if (line.n > this.counted && line.stream !== "stdout") this.counts[line.stream] += 1;
      if (fresh && wanted && !scroller.following) this.unread += 1;
      if (scroller.following || line.n <= this.keepUpto) store.append(line.n, wanted ? line : null);
      else store.grow(line.n);
      this.search.sees(line);
    }
    this.header.sawLines(lines, before);
    if (this.search.hits.length > hits) this.drawSearch();
    scroller.invalidate();
  }

  gap(gap) {
    if (!isWide(gap)) return;
    this.store.grow(gap.to);
    if (gap.to >= this.store.first) this.store.put(Math.max(gap.from, this.store.first), gap.to, [gapItem(gap)]);
    this.scroller.invalidate();
  }

  task(task) {
    this.builder.startMs = Date.parse(task.started ?? task.created);
    this.header.take(task);
  }

  reset() {
    this.loader.restart();
    this.store.clear();
    this.header.forget();
    this.counts = { stderr: 0, internal: 0 };
    this.counted = 0;
    this.unread = 0;
    this.builder.expanded.clear();
    this.scroller.reset();
  }

  connection(state, waitMs) {
    this.header.connected(this.notYet(state), waitMs);
    if (state === "signed_out" || state === "live" || state === "ended") this.access.set(state === "signed_out");
    this.scroller.invalidate();
  }

  // Not found stays on the screen while the page tries again behind it.
  notYet(state) {
    if (state === "not_found") this.missing = !new URLSearchParams(location.search).has("wait");
    if (state === "live" || state === "no_access" || state === "signed_out") this.missing = false;
    const again = state === "offline" || state === "connecting" || state === "waiting" || state === "not_found";
    return this.missing && again ? "not_found" : state === "not_found" ? "waiting" : state;
  }

  /** Switches a channel; the last one that is on stays on. */
  toggleChannel(stream) {
    if (this.shown.has(stream) && this.shown.size === 1) this.shown = new Set(STREAMS);
    else if (!this.shown.delete(stream)) this.shown.add(stream);
    for (const button of document.querySelectorAll(".channel")) {
      button.setAttribute("aria-pressed", String(this.shown.has(button.dataset.stream)));
    }
    this.loader.restart();
    this.store.forgetLines();
    this.numbersHaveRows(this.streamWords() === null);
    this.scroller.rebuild();
    this.searchAgain();
  }

  drawn() {
    this.viewport.style.setProperty("--digits", String(this.store.last).length);
    this.drawMarks();
    this.drawPill();
    this.header.drawLive();
    this.drawCounts();
    paintHits(this.viewport.querySelectorAll(".row > .text"), this.search.local);
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
    else if (search.error) output.textContent = "bad pattern";
    else if (search.hits.length === 0) output.textContent = search.busy ? "…" : "no hits";
    else output.textContent = search.at >= 0 ? `${count(search.at + 1)} of ${total}` : `${total} hits`;
    this.scroller.invalidate();
  }
}

const id = decodeURIComponent(location.pathname.replace(/^\/tasks\//, "").replace(/\/$/, ""));
new TaskPage(id).start();
