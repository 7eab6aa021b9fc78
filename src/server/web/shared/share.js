// Share links: `/tasks/ID#share=SHARE`, optionally followed by `&L120` for a line. The share is a
// secret: it is in the fragment, which no request carries, is exchanged for a cookie, and is then
// removed from the address bar.

import { ApiError, postJson } from "./api.js";
import { at } from "./root.js";

/** Returns `{ share, rest }`: the share in a fragment, or null, and the fragment without it. */
export function splitFragment(hash) {
  const match = /^#share=([\w.-]+)(?:&(.*))?$/.exec(hash);
  if (!match) return { share: null, rest: hash };
  return { share: match[1], rest: match[2] ? `#${match[2]}` : "" };
}

/** Returns the task id in a path of the server, or null. */
export function taskOf(path) {
  const match = /^\/tasks\/([^/]+)\/?$/.exec(path);
  if (!match) return null;
  try {
    return decodeURIComponent(match[1]);
  } catch {
    return null;
  }
}

/** Exchanges a share for a cookie. Returns null, or the error message to show. */
export async function openShare(task, share) {
  try {
    await postJson(at("/share"), { task, share });
    return null;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`;
  }
}

/** Opens the share in the address bar, if any, and removes it there. Returns as `openShare`. */
export async function openShareOfAddress(task) {
  const { share, rest } = splitFragment(location.hash);
  if (share === null) return null;
  const problem = await openShare(task, share);
  history.replaceState(null, "", location.pathname + location.search + rest);
  return problem;
}
