// The view of a log in the page's address: `?q=WORDS&regex=1&stream=stdout,stderr&time=clock`.
// The marked lines are the fragment, see links.js.

const OWN = ["q", "regex", "stream", "time"];

/** Returns the view in a query string: `{ text, regex, streams, timeMode }`, null for what is not in it. */
export function parseView(query, { streams, timeModes }) {
  const parameters = new URLSearchParams(query);
  const named = (parameters.get("stream") ?? "").split(",").filter((stream) => streams.includes(stream));
  const timeMode = parameters.get("time");
  return {
    text: parameters.get("q") ?? "",
    regex: parameters.get("regex") === "1",
    streams: named.length > 0 ? named : null,
    timeMode: timeModes.includes(timeMode) ? timeMode : null,
  };
}

/** Returns the query string with a view; other parameters stay. */
export function queryWithView(query, { text, regex, streams, timeMode }) {
  const parameters = new URLSearchParams(query);
  for (const name of OWN) parameters.delete(name);
  if (text) parameters.set("q", text);
  if (text && regex) parameters.set("regex", "1");
  if (streams) parameters.set("stream", streams);
  if (timeMode && timeMode !== "off") parameters.set("time", timeMode);
  const made = parameters.toString().replaceAll("%2C", ",");
  return made === "" ? "" : `?${made}`;
}
