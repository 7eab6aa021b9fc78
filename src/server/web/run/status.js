// The Event Status panel: whether events arrive and from where, the counters of each stage, and
// warnings.

import { plainText } from "../shared/ansi.js";
import { byId, element, setText } from "../shared/dom.js";
import { ago, clock, count, counted, dateTime } from "../shared/format.js";

const WARNINGS_MAX = 20;
const COUNTS = ["received", "parsed", "deduplicated", "stored", "delivered", "dropped"];

/** Returns a stage's details for display: `{ name, state: idle|ok|bad, words: [..], title }`. */
export function stageDetails(stage) {
  const rejected = Object.entries(stage.rejected ?? {}).filter(([, n]) => n > 0);
  const words = [count(Math.max(stage.received, stage.stored, stage.delivered))];
  if (stage.deduplicated > 0) words.push(`${count(stage.deduplicated)} ${stage.deduplicated === 1 ? "duplicate" : "duplicates"}`);
  for (const [reason, n] of rejected) words.push(`✗ ${count(n)} ${reason}`);
  if (stage.dropped > 0) words.push(`✗ ${count(stage.dropped)} lost`);
  const bad = rejected.length > 0 || stage.dropped > 0 || stage.last_error != null;
  const counts = COUNTS.filter((name) => stage[name] > 0).map((name) => `${name} ${count(stage[name])}`);
  const idle = counts.length === 0 && !bad;
  const last = stage.last ? `last ${dateTime(Date.parse(stage.last))}` : "no events yet";
  return { name: stage.hop, state: bad ? "bad" : idle ? "idle" : "ok", words, title: [stage.hop, ...counts, last].join("\n") };
}

/** Returns the last error of each stage, the newest first. */
export function stageErrors(stages, now) {
  const errors = stages.filter((stage) => stage.last_error != null).map((stage) => {
    const at = Date.parse(stage.last_error.at);
    return { at, words: `${stage.hop}: ${stage.last_error.message}`, when: ago(now - at) };
  });
  return errors.sort((a, b) => b.at - a.at);
}

/** The Event Status panel. */
export class RunStatus {
  constructor() {
    this.connection = "connecting";
    this.transport = "sse";
    this.retryAt = 0;
    this.run = null;
    this.pipeline = null;
    this.eventAt = 0;
    this.missing = false;
  }

  /** Notes the time of a new event, or of the newest earlier one. */
  noteEvent(ms) {
    this.eventAt = Math.max(this.eventAt, ms);
  }

  clear() {
    this.run = null;
    this.eventAt = 0;
  }

  /** Redraws everything that depends on the time or the state. */
  draw(now = Date.now()) {
    const { state, mark, words } = this.words(now);
    const line = byId("event-state");
    line.className = `event-state ${state}`;
    setText(line, `${mark} ${words}`);
    setText(byId("link"), this.linkText(now));
    this.drawWarnings(now);
  }

  words(now) {
    if (this.connection === "no_access") return { state: "offline", mark: "⊘", words: "no access" };
    if (this.connection === "signed_out") return { state: "offline", mark: "⊘", words: "signed out" };
    if (this.connection === "offline") return { state: "offline", mark: "✗", words: this.linkText(now) };
    if (this.eventAt === 0) {
      const words = this.connection === "connecting" && !this.missing ? "connecting…" : "waiting for the first event";
      return { state: "waiting", mark: "○", words };
    }
    const source = plainText(this.run?.source ?? "");
    const age = ago(Math.max(0, now - this.eventAt));
    const ended = this.run?.ended ? ", run ended" : "";
    const live = this.connection === "live" ? "live" : "reconnecting";
    return { state: "live", mark: "●", words: `${live} (${source === "" ? "" : `${source}, `}${age})${ended}` };
  }

  linkText(now) {
    if (this.connection === "live" && this.transport === "polling") return "live by polling";
    if (this.connection !== "offline") return "";
    return `offline (retry in ${Math.max(0, Math.ceil((this.retryAt - now) / 1000))} s)`;
  }

  /** Draws the stages of the run, and those of the whole server if they are shown; null if there are none. */
  setPipeline(pipeline, server) {
    this.pipeline = pipeline;
    this.drawStages(pipeline?.hops ?? []);
    fillStages(byId("server-hops"), server?.hops ?? []);
    const folder = server?.runs_folder ?? "";
    setText(byId("runs-folder"), folder === "" ? "" : `folder ${plainText(folder)}`);
    fillErrors(byId("server-errors"), stageErrors(server?.hops ?? [], Date.now()));
    this.drawWarnings(Date.now());
  }

  // The stages are folded while all is well; the first fault opens them.
  drawStages(stages) {
    const bad = stages.filter((stage) => stageDetails(stage).state === "bad").length;
    const box = byId("run-stages");
    box.hidden = stages.length === 0;
    if (bad > 0 && !this.wasBad) box.open = true;
    this.wasBad = bad > 0;
    setText(byId("stages-words"), bad > 0 ? `✗ ${counted(bad, "stage")} with losses or errors` : "✓ nothing rejected or lost");
    byId("stages-words").classList.toggle("bad", bad > 0);
    fillStages(byId("hops"), stages);
  }

  drawWarnings(now) {
    const errors = stageErrors(this.pipeline?.hops ?? [], now);
    const warnings = (this.run?.warnings ?? []).map((words) => ({ kind: "warning", words, when: "" }));
    fillErrors(byId("warnings"), [...warnings, ...errors]);
  }
}

/** Shows warnings and errors in a list, if they changed. */
function fillErrors(list, errors) {
  const items = errors.map((error) => ({ kind: "error", ...error })).slice(0, WARNINGS_MAX);
  const known = JSON.stringify(items);
  if (list.dataset.known === known) return;
  list.dataset.known = known;
  list.hidden = items.length === 0;
  list.replaceChildren(...items.map(warningItem));
}

/** Shows stages in a list. */
function fillStages(chain, stages) {
  chain.hidden = stages.length === 0;
  stages.forEach((stage, index) => {
    if (!chain.children[index]) chain.append(createStage());
    fillStage(chain.children[index], stageDetails(stage));
  });
  while (chain.children.length > stages.length) chain.lastChild.remove();
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

function createStage() {
  const item = element("li", "hop");
  item.append(element("span", "name"), element("span", "counts"));
  return item;
}

function fillStage(item, { name, state, words, title }) {
  item.className = `hop ${state}`;
  item.dataset.hop = name;
  setText(item.firstChild, name.replaceAll("_", " "));
  setText(item.lastChild, words.join(" · "));
  if (item.title !== title) item.title = title;
}
