// Requests to the server. Every failure is an ApiError with the HTTP status (0: no answer at all).

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function askJson(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "offline", "the server does not answer");
  }
  if (response.status === 204) return {};
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(response.status, body?.code ?? "", body?.detail ?? body?.title ?? response.statusText);
  if (body === null) throw new ApiError(response.status, "bad_answer", "the answer is not JSON");
  return body;
}

const getJson = (url, signal) => askJson(url, { signal, headers: { accept: "application/json" } });

/** A request that changes something. */
export const postJson = (url, body) =>
  askJson(url, { method: "POST", headers: { accept: "application/json", "content-type": "application/json" }, body: JSON.stringify(body) });

const query = (parameters) => {
  const words = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) if (value !== undefined && value !== null) words.set(key, value);
  const text = words.toString();
  return text === "" ? "" : `?${text}`;
};

export const taskUrl = (id) => `/api/v1/tasks/${encodeURIComponent(id)}`;
export const fetchTask = (id, signal) => getJson(taskUrl(id), signal);
export const fetchLines = (id, parameters, signal) => getJson(`${taskUrl(id)}/lines${query(parameters)}`, signal);
export const fetchTasks = (parameters, signal) => getJson(`/api/v1/tasks${query(parameters)}`, signal);

export const runUrl = (id) => `/api/v1/runs/${encodeURIComponent(id)}`;
export const fetchRun = (id, signal) => getJson(runUrl(id), signal);
export const fetchEvents = (id, parameters, signal) => getJson(`${runUrl(id)}/events${query(parameters)}`, signal);
export const fetchRuns = (parameters, signal) => getJson(`/api/v1/runs${query(parameters)}`, signal);
/** Who this browser is to the server; `task` is one that may have been shared with it. */
export const fetchAccess = (task) => getJson(`/api/v1/access${query({ task })}`);
export const makeShare = (id, expires_in) => postJson(`${taskUrl(id)}/share`, { expires_in });
export const fetchPipeline = (signal) => getJson("/api/v1/pipeline", signal);
