// Formats numbers, times and states for display. Pure.

/** Returns a number with thousands separators: "18,204". */
export function count(n) {
  return Math.trunc(n).toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Returns a count with its noun: "1 line", "2 lines". */
export function counted(n, noun) {
  return `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
}

/** Returns a size with its unit and at most one decimal. */
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

/** Returns milliseconds as "12:41" or "1:02:03". */
export function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const hours = Math.floor(s / 3600);
  const minutes = Math.floor(s / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/** Returns an approximate age: "just now", "8 s ago", "3 min ago". */
export function ago(ms) {
  if (ms < 1500) return "just now";
  if (ms < 60_000) return `${Math.floor(ms / 1000)} s ago`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ago`;
  if (ms < 86_400_000) return `${Math.floor(ms / 3_600_000)} h ago`;
  return `${Math.floor(ms / 86_400_000)} d ago`;
}

/** Returns the local time of day with milliseconds. */
export function clock(ms) {
  const d = new Date(ms);
  if (Number.isNaN(d.getTime())) return "";
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`;
}

/** Returns the local date and time, for tooltips and lists. */
export function dateTime(ms) {
  const d = new Date(ms);
  if (Number.isNaN(d.getTime())) return "";
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** Returns a time span with milliseconds, for the time column: "0:12.345". */
export function span(ms) {
  const sign = ms < 0 ? "-" : "";
  const abs = Math.abs(ms);
  return `${sign}${duration(abs)}.${String(Math.floor(abs) % 1000).padStart(3, "0")}`;
}

/** Returns the time since the previous line, in seconds: "+0.012". */
export function delta(ms) {
  return `${ms < 0 ? "-" : "+"}${(Math.abs(ms) / 1000).toFixed(3)}`;
}

/** Returns a command line that a shell parses back into the same arguments. */
export function commandLine(words) {
  return (words ?? [])
    .map((word) => (/^[\w@%+=:,./~-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(" ");
}

const SIGNALS = { 1: "HUP", 2: "INT", 3: "QUIT", 6: "ABRT", 8: "FPE", 9: "KILL", 11: "SEGV", 13: "PIPE", 14: "ALRM", 15: "TERM" };

/** Returns a task's state for display: `{ kind: running|ok|failed|lost|aborted, mark, words }`. */
export function verdict(task) {
  if (task.status === "running") return { kind: "running", mark: "●", words: "running" };
  if (task.status === "lost") return { kind: "lost", mark: "?", words: "lost" };
  const signal = task.signal == null ? null : `signal ${SIGNALS[task.signal] ?? task.signal}`;
  if (task.status === "aborted") return { kind: "aborted", mark: "⊘", words: signal ? `aborted, ${signal}` : "aborted" };
  if (signal) return { kind: "failed", mark: "✗", words: signal };
  if (task.exit_code == null) return { kind: "ok", mark: "✓", words: "completed" };
  return { kind: task.exit_code === 0 ? "ok" : "failed", mark: task.exit_code === 0 ? "✓" : "✗", words: `exit ${task.exit_code}` };
}

/** Returns a task's run time so far, or in total, in milliseconds. */
export function elapsed(task, now) {
  const start = Date.parse(task.started ?? task.created);
  const end = task.ended ? Date.parse(task.ended) : now;
  return Number.isNaN(start) ? 0 : end - start;
}

/** Returns the text for a gap. */
export function gapText(gap) {
  const lines = counted(gap.count, "line");
  const numbers = gap.from === gap.to ? `line ${count(gap.from)}` : `lines ${count(gap.from)} to ${count(gap.to)}`;
  switch (gap.reason) {
    case "skipped": return `${lines} skipped by the worker (output too fast)`;
    case "lost_in_transit": return `${lines} lost in transit from the worker`;
    case "trimmed": return `${numbers} trimmed, no longer available`;
    case "quota": return gap.marked
      ? `${lines} over this task's limit, not stored`
      : `${numbers} removed: the log exceeded its size limit, which keeps only its start and end`;
    default: return `${numbers} not available`;
  }
}

/** Returns the number of the command's lines that can be read. */
export function keptLines(task) {
  return Math.max(0, task.lines - (task.own_lines ?? 0) - (task.trimmed_lines ?? 0));
}

/** Returns the number of the command's lines that are known to be missing. */
export function missingCount(task) {
  return Math.max(task.integrity?.missing_lines ?? 0, (task.skipped_lines ?? 0) + (task.trimmed_lines ?? 0));
}

/** Returns the text for a log with missing lines, `1,253 of 15,021`, or null for any other. */
export function lossSummary(task) {
  if (task.complete !== false) return null;
  const [kept, missing] = [keptLines(task), missingCount(task)];
  return missing === 0 ? count(kept) : `${count(kept)} of ${count(kept + missing)}`;
}

const MISSING = { skipped: "skipped by the worker", lost_in_transit: "lost in transit", trimmed: "trimmed", quota: "over quota" };

function missingText({ from, to, reason, count: lines }) {
  const why = MISSING[reason] ?? "missing";
  return from === to ? `${counted(lines, "line")} ${why} at line ${count(from)}` : `lines ${count(from)} to ${count(to)} ${why}`;
}

/**
 * Returns the verification of a finished log against its worker's totals: `{ kind, words, title, alarm }`.
 * Returns null until the log is finished, and if the worker reported no totals, unless `task` has missing lines.
 */
export function integritySummary(integrity, task) {
  if (!integrity || integrity.state === "unknown") {
    const missing = task ? missingCount(task) : 0;
    if (missing === 0) return null;
    const words = `incomplete: ${counted(missing, "line")} missing`;
    return { kind: "incomplete", words, title: "Rows in the log mark the places", alarm: null };
  }
  const { state, lines, hash, said_lines: workerLines, said_hash: workerHash, missing_lines: missingLines, missing } = integrity;
  const sums = [hash && `server checksum: ${hash}`, workerHash && `worker checksum: ${workerHash}`].filter(Boolean);
  if (state === "complete") {
    const verified = workerHash ? "All lines the worker sent are stored, unchanged." : "All lines the worker sent are stored.";
    const kept = task?.own_lines === undefined ? lines : keptLines(task);
    return { kind: "complete", words: `complete: ${counted(kept, "line")}`, title: [verified, ...sums].join("\n"), alarm: null };
  }
  const places = missing.map(missingText);
  const listed = missing.reduce((sum, place) => sum + place.count, 0);
  if (missingLines > listed) places.push(`${counted(missingLines - listed, "line")} elsewhere`);
  if (state === "incomplete") {
    const words = `incomplete: ${counted(missingLines, "line")} missing`;
    const title = [...places, ...sums].join("\n");
    return { kind: "incomplete", words: `${words}: ${places.join("; ")}`, title, alarm: null };
  }
  const differs = workerLines !== null && workerLines !== lines;
  const fault = differs
    ? `the worker sent ${counted(workerLines, "line")}, ${count(lines)} are stored.`
    : `it has ${counted(lines, "line")} as sent, but the checksums differ.`;
  const alarm = `This log differs from what the worker sent: ${fault}${places.length > 0 ? ` Missing: ${places.join("; ")}.` : ""}`;
  return { kind: "mismatch", words: "differs from what the worker sent", title: sums.join("\n"), alarm };
}
