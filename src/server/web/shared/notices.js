// Texts shown in place of a log: `[title, explanation]` for each state of a page.

const COMMON = {
  connecting: ["Connecting…", ""],
  offline: ["Offline", "Can't reach the server. Retrying…"],
  signed_out: ["Signed out", "Your session has ended or its token was revoked. Sign in to continue."],
};

const notFound = (noun) =>
  `No ${noun} has this id, it was deleted, or your token does not cover it. If it starts later, it appears here.`;

export const TASK_NOTICES = {
  ...COMMON,
  waiting_line: ["Waiting for the first line", "The task is running; no output yet."],
  waiting: ["Waiting for the task to start", "Its lines appear here."],
  not_found: ["No such task", notFound("task")],
  no_access: ["No access", "Your token does not allow reading this task. Sign in with one that does."],
  silent: ["No output", "The task ended without printing a line."],
};

export const RUN_NOTICES = {
  ...COMMON,
  waiting: ["Waiting for the first event", "No events yet."],
  waiting_run: ["Waiting for the run to start", "Its events appear here."],
  not_found: ["No such run", notFound("run")],
  no_access: ["No access", "Your token does not allow reading this run. Sign in with one that does."],
  no_match: ["No matches", "No event of this run matches the filter."],
};
