// Events as rows of a log: what a person reads of one, and which of them look alike. Pure.
//
// An item is { n, line, at, timestamp, failure, level, mark, word, who, text, error }: its number
// in the run's log, the JSON as stored, when it happened (milliseconds, NaN if nobody said), and
// what its row shows. A row of the summary that stands for several is the newest of them with
// `last` (the number of the newest; `n` is that of the first) and `times`.

const ERROR_LEVELS = new Set(["ERROR", "CRITICAL", "FATAL"]);
const MARKS = {
  pending: "·", running: "⟳", started: "⟳", done: "✓", completed: "✓", succeeded: "✓", failed: "✗", unreachable: "✗",
  skipped: "⊘", stopped: "⊘", cancelled: "⊘", partial: "◑", retried: "↻", compensated: "↺", blocked: "‖",
};
const KINDS = { "✓": "ok", "✗": "failed", "⟳": "running", "⊘": "lost", "◑": "lost", "↻": "lost", "↺": "lost", "‖": "lost" };

/** The mark of a state's word. */
export const markOf = (word) => MARKS[word] ?? "●";
/** The colour's name of a mark: ok, failed, running, lost or idle. */
export const kindOf = (mark) => KINDS[mark] ?? "idle";

/**
 * The number in a cursor. Cursors are opaque to everyone but the server that gives them, and this
 * page is a part of that server, out of the same binary.
 */
export function placeOf(cursor) {
  const n = Number.parseInt(String(cursor).split(".")[3], 16);
  return Number.isSafeInteger(n) ? n : null;
}

/** The row of event number n, or null if the text is no event. */
export function readEvent(n, json) {
  let event;
  try {
    event = JSON.parse(json);
  } catch {
    return null;
  }
  return event === null || typeof event !== "object" ? null : itemOf(n, event, json);
}

/** The row of event number n. */
export function itemOf(n, event, json = JSON.stringify(event)) {
  const at = momentOf(event.timestamp_utc ?? event.timestamp) || momentOf(event.received_utc);
  const timestamp = Number.isNaN(at) ? "" : new Date(at).toISOString();
  const row = event.event_type == null ? benchmarkRow(event) : pipelineRow(event);
  return { n, line: json, at, timestamp, ...row };
}

// Seconds since 1970 or RFC 3339, in milliseconds; NaN for unknown, which zero stands for too.
function momentOf(moment) {
  if (typeof moment === "number") return moment > 0 && moment < 1e12 ? Math.trunc(moment * 1000) : NaN;
  return typeof moment === "string" ? Date.parse(moment) : NaN;
}

/** When a server took the event, in milliseconds, or NaN. */
export function receivedAt(item) {
  try {
    return momentOf(JSON.parse(item.line).received_utc);
  } catch {
    return NaN;
  }
}

const words = (value) => (value == null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));

function benchmarkRow(event) {
  const log = event.type === "log";
  const status = words(event.status);
  const level = words(event.level).toUpperCase();
  const isError = ERROR_LEVELS.has(level);
  const bad = !log && (status === "failed" || status === "unreachable");
  const total = event.total_repetitions ?? event.total;
  const number = words(event.repetition) + (total == null ? "" : `/${words(total)}`);
  return {
    failure: bad || event.error_type != null || isError,
    level: log ? levelName(level) : "status",
    mark: log ? "" : markOf(status),
    word: log ? level || "INFO" : status,
    who: `${words(event.host)}/${words(event.workload)} ${number}`,
    text: words(event.message) || (log ? "" : `repetition ${number.replace("/", " of ")}`),
    error: words(event.error_type),
  };
}

function levelName(level) {
  if (ERROR_LEVELS.has(level)) return "error";
  if (level.startsWith("WARN")) return "warning";
  return level === "DEBUG" || level === "TRACE" ? "debug" : "info";
}

function pipelineRow(event) {
  const type = words(event.event_type);
  const state = words(event.new_state) || type.slice(type.lastIndexOf(".") + 1);
  const parts = [type];
  if (event.attempt > 0) parts.push(`attempt ${words(event.attempt)}`);
  if (event.previous_state != null) parts.push(`${words(event.previous_state)} → ${words(event.new_state)}`);
  if (event.artifact_path != null) parts.push(words(event.artifact_path));
  const reason = words(event.reason ?? event.message);
  if (reason !== "") parts.push(reason);
  return {
    failure: type.endsWith(".failed") || event.new_state === "failed",
    level: "status",
    mark: markOf(state),
    word: state,
    who: words(event.step_id) || words(event.actor),
    text: parts.join(" · "),
    error: words(event.error_class),
  };
}

/** Looks alike: the same but for numbers in its text. Null for what always stands alone. */
export function shapeOf(item) {
  if (item.failure) return null;
  const shape = item.text.replace(/\b(?=[0-9a-f-]*\d)[0-9a-f-]{8,}\b/g, "#").replace(/\d+(?:[.,:]\d+)*/g, "#");
  return `${item.level}\n${item.word}\n${item.who}\n${shape}`;
}

/** `below` with all that `above`, right before it and alike, stands for. */
export function joined(above, below) {
  return { ...below, n: above.n, last: below.last ?? below.n, times: (above.times ?? 1) + (below.times ?? 1) };
}

/** Rows that are alike and stand one behind the other become one. */
export function collapse(items) {
  const rows = [];
  let shape = null;
  for (const item of items) {
    const next = shapeOf(item);
    if (next !== null && next === shape) rows.push(joined(rows.pop(), item));
    else rows.push(item);
    shape = next;
  }
  return rows;
}

/** Whether a row has all these words (in lower case) somewhere. */
export function matches(item, wanted) {
  if (wanted.length === 0) return true;
  const text = `${item.word} ${item.who} ${item.text} ${item.error}`.toLowerCase();
  return wanted.every((word) => text.includes(word));
}
