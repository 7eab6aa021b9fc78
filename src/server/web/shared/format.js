// Numbers, times and states in words. Pure.

/** 18204 as "18,204". */
export function count(n) {
  return Math.trunc(n).toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

/** "1 line", "2 lines". */
export function counted(n, noun) {
  return `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
}

/** Bytes with one decimal at most. */
export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = n;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit > 0 && value < 99.5 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

const two = (n) => String(n).padStart(2, "0");

/** Milliseconds as "12:41" or "1:02:03". */
export function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const hours = Math.floor(s / 3600);
  const minutes = Math.floor(s / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/** How long ago, roughly: "just now", "8 s ago", "3 min ago". */
export function ago(ms) {
  if (ms < 1500) return "just now";
  if (ms < 60_000) return `${Math.floor(ms / 1000)} s ago`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ago`;
  if (ms < 86_400_000) return `${Math.floor(ms / 3_600_000)} h ago`;
  return `${Math.floor(ms / 86_400_000)} d ago`;
}

/** Local time of day with milliseconds. */
export function clock(ms) {
  const d = new Date(ms);
  if (Number.isNaN(d.getTime())) return "";
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`;
}

/** Local date and time, for titles and the list. */
export function dateTime(ms) {
  const d = new Date(ms);
  if (Number.isNaN(d.getTime())) return "";
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** A time span as in a time column: "0:12.345". */
export function span(ms) {
  const sign = ms < 0 ? "-" : "";
  const abs = Math.abs(ms);
  return `${sign}${duration(abs)}.${String(Math.floor(abs) % 1000).padStart(3, "0")}`;
}

/** The time since the line before: "+0.012". */
export function delta(ms) {
  return `${ms < 0 ? "-" : "+"}${(Math.abs(ms) / 1000).toFixed(3)}`;
}

/** A command line a shell would read back as the same arguments. */
export function commandLine(words) {
  return (words ?? [])
    .map((word) => (/^[\w@%+=:,./~-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(" ");
}

const SIGNALS = { 1: "HUP", 2: "INT", 3: "QUIT", 6: "ABRT", 8: "FPE", 9: "KILL", 11: "SEGV", 13: "PIPE", 14: "ALRM", 15: "TERM" };

/** How a task stands: `{ kind: running|ok|failed|lost|aborted, mark, words }`. */
export function verdict(task) {
  if (task.status === "running") return { kind: "running", mark: "●", words: "running" };
  if (task.status === "lost") return { kind: "lost", mark: "?", words: "lost" };
  const signal = task.signal == null ? null : `signal ${SIGNALS[task.signal] ?? task.signal}`;
  if (task.status === "aborted") return { kind: "aborted", mark: "⊘", words: signal ? `aborted, ${signal}` : "aborted" };
  if (signal) return { kind: "failed", mark: "✗", words: signal };
  if (task.exit_code == null) return { kind: "ok", mark: "✓", words: "completed" };
  return { kind: task.exit_code === 0 ? "ok" : "failed", mark: task.exit_code === 0 ? "✓" : "✗", words: `exit ${task.exit_code}` };
}

/** Milliseconds a task has run, or ran. */
export function elapsed(task, now) {
  const start = Date.parse(task.started ?? task.created);
  const end = task.ended ? Date.parse(task.ended) : now;
  return Number.isNaN(start) ? 0 : end - start;
}

/** Missing lines in words. */
export function gapWords(gap) {
  const lines = counted(gap.count, "line");
  const were = gap.count === 1 ? "was" : "were";
  const numbers = gap.from === gap.to ? `line ${count(gap.from)}` : `lines ${count(gap.from)} to ${count(gap.to)}`;
  switch (gap.reason) {
    case "skipped": return `${lines} ${were} skipped by the worker (output too fast)`;
    case "lost_in_transit": return `${lines} ${were} lost on the way from the worker`;
    case "trimmed": return `${numbers} ${were} trimmed and can no longer be read`;
    case "quota": return gap.marked
      ? `${lines} ${were} over this task's limit and ${were} not kept`
      : `${numbers} ${were} not kept: the log grew over its limit, which leaves its head and its tail`;
    default: return `${numbers} cannot be read`;
  }
}

const MISSING = { skipped: "skipped by the worker", lost_in_transit: "lost in transit", trimmed: "trimmed", quota: "over quota" };

function missingWords({ from, to, reason, count: lines }) {
  const why = MISSING[reason] ?? "missing";
  return from === to ? `${counted(lines, "line")} ${why} at line ${count(from)}` : `lines ${count(from)} to ${count(to)} ${why}`;
}

/**
 * Whether a finished log is what its worker sent: `{ kind, words, title, alarm }`; null while it is not
 * finished, and where nobody has said how many lines there were.
 */
export function integrityWords(integrity) {
  if (!integrity || integrity.state === "unknown") return null;
  const { state, lines, hash, said_lines: saidLines, said_hash: saidHash, missing_lines: gone, missing } = integrity;
  const sums = [hash && `the server's sum: ${hash}`, saidHash && `the worker's sum: ${saidHash}`].filter(Boolean);
  if (state === "complete") {
    const said = saidHash ? "Every line that the worker counted is here, as it was sent." : "Every line that the worker counted is here.";
    return { kind: "complete", words: `complete: ${counted(lines, "line")}`, title: [said, ...sums].join("\n"), alarm: null };
  }
  const places = missing.map(missingWords);
  const listed = missing.reduce((sum, place) => sum + place.count, 0);
  if (gone > listed) places.push(`${counted(gone - listed, "line")} in further places`);
  if (state === "incomplete") {
    const words = `incomplete: ${counted(gone, "line")} missing`;
    const title = [...places, ...sums].join("\n");
    return { kind: "incomplete", words: `${words}: ${places.join("; ")}`, title, alarm: null };
  }
  const differs = saidLines !== null && saidLines !== lines;
  const fault = differs
    ? `the worker counted ${counted(saidLines, "line")}, and ${counted(lines, "line")} are here.`
    : `the worker counted ${counted(lines, "line")} too, but what is here does not add up to what it sent.`;
  const alarm = `This log is not what the worker sent: ${fault}${places.length > 0 ? ` Missing: ${places.join("; ")}.` : ""}`;
  return { kind: "mismatch", words: "not what the worker sent", title: sums.join("\n"), alarm };
}
