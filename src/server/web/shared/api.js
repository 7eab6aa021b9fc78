// Requests to the server. Every failure is an ApiError with the HTTP status (0: no response).

import { at } from "./root.js";

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// The share with which an embedded page reads.
let share = null;
export const setShare = (value) => {
  share = value;
};

/** Returns the headers of a request, with the share of an embedded page. */
export const withShare = (headers) => (share === null ? headers : { ...headers, "tasktail-share": share });

/** Returns the subprotocols of a WebSocket, on which a page cannot set headers. */
export const shareProtocols = () => (share === null ? [] : ["tasktail.v1", `tasktail.share.${share}`]);

async function requestJson(url, options) {
  let response;
  try {
    response = await fetch(url, { ...options, headers: withShare(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "offline", "cannot reach the server");
  }
  if (response.status === 204) return {};
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(response.status, body?.code ?? "", body?.detail ?? body?.title ?? response.statusText);
  if (body === null) throw new ApiError(response.status, "bad_response", "the response is not JSON");
  return body;
}

const getJson = (url, signal) => requestJson(url, { signal, headers: { accept: "application/json" } });

/** Sends a request that changes state. */
export const postJson = (url, body) =>
  requestJson(url, { method: "POST", headers: { accept: "application/json", "content-type": "application/json" }, body: JSON.stringify(body) });

const query = (parameters) => {
  const pairs = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) if (value !== undefined && value !== null) pairs.set(key, value);
  const text = pairs.toString();
  return text === "" ? "" : `?${text}`;
};

// An id that always names this log: the id of a first attempt alone names the newest one.
export const exactId = (task) => (task.attempt?.number === 1 && task.attempt.newest > 1 ? `${task.id}.1` : task.id);

// The log that this page shows. A name alone means its newest log, which may be another one later.
let epoch = null;
export const setEpoch = (value) => {
  epoch = value;
};

const taskUrl = (id, path, parameters) => at(`/api/v1/tasks/${encodeURIComponent(id)}${path}${query({ ...parameters, epoch })}`);
export const streamUrl = (id, parameters) => at(`/api/v1/tasks/${encodeURIComponent(id)}/stream${query(parameters)}`);
export const downloadUrl = (id, parameters) => taskUrl(id, "/log", parameters);
export const fetchTask = (id, signal) => getJson(taskUrl(id, ""), signal);
export const fetchLines = (id, parameters, signal) => getJson(taskUrl(id, "/lines", parameters), signal);
export const fetchOutline = (id, signal) => getJson(taskUrl(id, "/outline"), signal);
export const fetchDiff = (id, parameters, signal) => getJson(taskUrl(id, "/diff", parameters), signal);
export const fetchTasks = (parameters, signal) => getJson(at(`/api/v1/tasks${query(parameters)}`), signal);

export const searchUrl = (parameters) => at(`/api/v1/search${query(parameters)}`);

export const runUrl = (id) => at(`/api/v1/runs/${encodeURIComponent(id)}`);
export const fetchRun = (id, signal) => getJson(runUrl(id), signal);
export const fetchEvents = (id, parameters, signal) => getJson(`${runUrl(id)}/events${query(parameters)}`, signal);
export const fetchRuns = (parameters, signal) => getJson(at(`/api/v1/runs${query(parameters)}`), signal);
/** Returns the identity and access of this browser; `task` is one that may be shared with it, `origin` that of the page. */
export const fetchAccess = (task, origin) => getJson(at(`/api/v1/access${query({ task, origin })}`));
export const createShare = (id, expires_in) => postJson(taskUrl(id, "/share"), { expires_in });
/** Returns the counters of a run's own stages, and those of the whole server. */
export const fetchRunPipeline = (id, signal) => getJson(`${runUrl(id)}/pipeline`, signal);
export const fetchPipeline = (signal) => getJson(at("/api/v1/pipeline"), signal);
