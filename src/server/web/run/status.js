// Event Status: whether events come and from where, what each hop of their way has counted, and
// what does not fit together.

import { plainText } from "../shared/ansi.js";
import { byId, element, setText } from "../shared/dom.js";
import { ago, clock, count, dateTime } from "../shared/format.js";

const WARNINGS_MAX = 20;
const COUNTS = ["received", "parsed", "deduplicated", "stored", "delivered", "dropped"];

/** What a hop's place in the chain shows: `{ name, state: idle|ok|bad, words: [..], title }`. */
export function hopFacts(hop) {
  const rejected = Object.entries(hop.rejected ?? {}).filter(([, n]) => n > 0);
  const words = [count(Math.max(hop.received, hop.stored, hop.delivered))];
  if (hop.deduplicated > 0) words.push(`${count(hop.deduplicated)} ${hop.deduplicated === 1 ? "repeat" : "repeats"}`);
  for (const [reason, n] of rejected) words.push(`✗ ${count(n)} ${reason}`);
  if (hop.dropped > 0) words.push(`✗ ${count(hop.dropped)} lost`);
  const bad = rejected.length > 0 || hop.dropped > 0 || hop.last_error != null;
  const counts = COUNTS.filter((name) => hop[name] > 0).map((name) => `${name} ${count(hop[name])}`);
  const idle = counts.length === 0 && !bad;
  const last = hop.last ? `last ${dateTime(Date.parse(hop.last))}` : "nothing has come here";
  return { name: hop.hop, state: bad ? "bad" : idle ? "idle" : "ok", words, title: [hop.hop, ...counts, last].join("\n") };
}

/** What went wrong at the hops, in words, the newest first. */
export function hopFaults(hops, now) {
  const faults = hops.filter((hop) => hop.last_error != null).map((hop) => {
    const at = Date.parse(hop.last_error.at);
    return { at, words: `${hop.hop}: ${hop.last_error.message}`, when: ago(now - at) };
  });
  return faults.sort((a, b) => b.at - a.at);
}

export class RunStatus {
  constructor() {
    this.connection = "connecting";
    this.retryAt = 0;
    this.run = null;
    this.pipeline = null;
    this.eventAt = 0;
    this.missing = false;
  }

  /** An event came that is new, or is the newest of what there was, at `ms`. */
  sawEvent(ms) {
    this.eventAt = Math.max(this.eventAt, ms);
  }

  forget() {
    this.run = null;
    this.eventAt = 0;
  }

  /** Everything whose words may be others by now. */
  draw(now = Date.now()) {
    const { state, mark, words } = this.words(now);
    const line = byId("event-state");
    line.className = `event-state ${state}`;
    setText(line, `${mark} ${words}`);
    setText(byId("link"), this.linkWords(now));
    this.drawWarnings(now);
  }

  words(now) {
    if (this.connection === "no_access") return { state: "offline", mark: "⊘", words: "no access" };
    if (this.connection === "signed_out") return { state: "offline", mark: "⊘", words: "signed out" };
    if (this.connection === "offline") return { state: "offline", mark: "✗", words: this.linkWords(now) };
    if (this.eventAt === 0) {
      const words = this.connection === "connecting" && !this.missing ? "connecting…" : "waiting for the first event";
      return { state: "waiting", mark: "○", words };
    }
    const source = plainText(this.run?.source ?? "");
    const age = ago(Math.max(0, now - this.eventAt));
    const ended = this.run?.ended ? ", the run has ended" : "";
    const live = this.connection === "live" ? "live" : "reconnecting";
    return { state: "live", mark: "●", words: `${live} (${source === "" ? "" : `${source}, `}${age})${ended}` };
  }

  linkWords(now) {
    if (this.connection !== "offline") return "";
    return `offline (retry in ${Math.max(0, Math.ceil((this.retryAt - now) / 1000))} s)`;
  }

  /** The chain of hops; null: the server does not tell. */
  takePipeline(pipeline) {
    this.pipeline = pipeline;
    const chain = byId("hops");
    const hops = pipeline?.hops ?? [];
    chain.hidden = hops.length === 0;
    hops.forEach((hop, index) => {
      if (!chain.children[index]) chain.append(makeHop());
      fillHop(chain.children[index], hopFacts(hop));
    });
    while (chain.children.length > hops.length) chain.lastChild.remove();
    const folder = pipeline?.runs_folder ?? "";
    setText(byId("runs-folder"), folder === "" ? "" : `folder ${plainText(folder)}`);
    this.drawWarnings(Date.now());
  }

  drawWarnings(now) {
    const faults = hopFaults(this.pipeline?.hops ?? [], now);
    const items = [
      ...(this.run?.warnings ?? []).map((words) => ({ kind: "warning", words, when: "" })),
      ...faults.map((fault) => ({ ...fault, kind: "fault" })),
    ].slice(0, WARNINGS_MAX);
    const list = byId("warnings");
    const known = JSON.stringify(items);
    if (list.dataset.known === known) return;
    list.dataset.known = known;
    list.hidden = items.length === 0;
    list.replaceChildren(...items.map(warningItem));
  }
}

function warningItem({ kind, words, when, at }) {
  const item = element("li", kind);
  item.append(element("span", "words", plainText(words)));
  if (when === "") return item;
  const time = element("time", "", when);
  time.title = Number.isNaN(at) ? "" : clock(at);
  item.append(time);
  return item;
}

function makeHop() {
  const item = element("li", "hop");
  item.append(element("span", "name"), element("span", "counts"));
  return item;
}

function fillHop(item, { name, state, words, title }) {
  item.className = `hop ${state}`;
  item.dataset.hop = name;
  setText(item.firstChild, name.replaceAll("_", " "));
  setText(item.lastChild, words.join(" · "));
  if (item.title !== title) item.title = title;
}
