// Converts events to log rows, and merges similar ones. Pure.
//
// An item is { n, line, at, timestamp, failure, level, mark, word, who, text, error }: its number
// in the run's log, the JSON as stored, its time (milliseconds, NaN if unknown), and the contents of
// its row. A summary row for several events is the newest of them, with `n` of the first, `last` (the
// number of the newest) and `times`.

const ERROR_LEVELS = new Set(["ERROR", "CRITICAL", "FATAL"]);
const MARKS = {
  pending: "·", running: "⟳", started: "⟳", done: "✓", completed: "✓", succeeded: "✓", failed: "✗", unreachable: "✗",
  skipped: "⊘", stopped: "⊘", cancelled: "⊘", partial: "◑", retried: "↻", compensated: "↺", blocked: "‖",
};
const KINDS = { "✓": "ok", "✗": "failed", "⟳": "running", "⊘": "lost", "◑": "lost", "↻": "lost", "↺": "lost", "‖": "lost" };

/** Returns the mark of a state. */
export const markOf = (word) => MARKS[word] ?? "●";
/** Returns the style of a mark: ok, failed, running, lost or idle. */
export const kindOf = (mark) => KINDS[mark] ?? "idle";

/**
 * Returns the event number in a cursor, or null. Cursors are opaque to clients, but this page is part of
 * the server's binary.
 */
export function cursorNumber(cursor) {
  const n = Number.parseInt(String(cursor).split(".")[3], 16);
  return Number.isSafeInteger(n) ? n : null;
}

/** Returns the item of event n, or null if the text is not an event. */
export function parseEvent(n, json) {
  let event;
  try {
    event = JSON.parse(json);
  } catch {
    return null;
  }
  return event === null || typeof event !== "object" ? null : itemOf(n, event, json);
}

/** Returns the item of event n. */
export function itemOf(n, event, json = JSON.stringify(event)) {
  const at = toMillis(event.timestamp_utc ?? event.timestamp) || toMillis(event.received_utc);
  const timestamp = Number.isNaN(at) ? "" : new Date(at).toISOString();
  const row = event.event_type == null ? benchmarkRow(event) : pipelineRow(event);
  return { n, line: json, at, timestamp, ...row };
}

// Converts Unix seconds or RFC 3339 to milliseconds; zero and invalid values are NaN.
function toMillis(moment) {
  if (typeof moment === "number") return moment > 0 && moment < 1e12 ? Math.trunc(moment * 1000) : NaN;
  return typeof moment === "string" ? Date.parse(moment) : NaN;
}

/** Returns when the server received the event, in milliseconds, or NaN. */
export function receivedAt(item) {
  try {
    return toMillis(JSON.parse(item.line).received_utc);
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

/** Returns a key that similar events share: all but the numbers in the text. Null for failures, which are never merged. */
export function shapeOf(item) {
  if (item.failure) return null;
  const shape = item.text.replace(/\b(?=[0-9a-f-]*\d)[0-9a-f-]{8,}\b/g, "#").replace(/\d+(?:[.,:]\d+)*/g, "#");
  return `${item.level}\n${item.word}\n${item.who}\n${shape}`;
}

/** Merges `above`, the similar row right before `below`, into it. */
export function merge(above, below) {
  return { ...below, n: above.n, last: below.last ?? below.n, times: (above.times ?? 1) + (below.times ?? 1) };
}

/** Merges adjacent similar rows. */
export function collapse(items) {
  const rows = [];
  let shape = null;
  for (const item of items) {
    const next = shapeOf(item);
    if (next !== null && next === shape) rows.push(merge(rows.pop(), item));
    else rows.push(item);
    shape = next;
  }
  return rows;
}

/** Reports whether a row contains all these lower-case words. */
export function matches(item, wanted) {
  if (wanted.length === 0) return true;
  const text = `${item.word} ${item.who} ${item.text} ${item.error}`.toLowerCase();
  return wanted.every((word) => text.includes(word));
}
