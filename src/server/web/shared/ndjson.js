// Reads a response of one JSON value per row, as the rows arrive.

import { ApiError } from "./api.js";

/** Yields the rows of the response to a request, in arrays of those that arrived together. */
export async function* ndjson(url, signal) {
  const response = await fetch(url, { signal, headers: { accept: "application/x-ndjson, application/problem+json" } }).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "offline", "the server does not answer");
  });
  if (!response.ok) {
    const problem = await response.json().catch(() => null);
    throw new ApiError(response.status, problem?.code ?? "", problem?.detail ?? response.statusText);
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const rows = (rest + part.value).split("\n");
    rest = rows.pop();
    if (rows.length > 0) yield rows.filter((row) => row !== "").map((row) => JSON.parse(row));
  }
  if (rest.trim() !== "") yield [JSON.parse(rest)];
}
