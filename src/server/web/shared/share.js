// Share links: `/tasks/ID#share=SHARE`, with `&L120` behind it for a line. The share is a secret: it
// stands in the fragment, which no request carries, is exchanged for a cookie, and leaves the
// address bar.

import { ApiError, postJson } from "./api.js";

/** `{ share, rest }`: the share of a fragment or null, and the fragment without it. */
export function splitFragment(hash) {
  const match = /^#share=([\w.-]+)(?:&(.*))?$/.exec(hash);
  if (!match) return { share: null, rest: hash };
  return { share: match[1], rest: match[2] ? `#${match[2]}` : "" };
}

/** The task of a path, or null. */
export function taskOf(path) {
  const match = /^\/tasks\/([^/]+)\/?$/.exec(path);
  if (!match) return null;
  try {
    return decodeURIComponent(match[1]);
  } catch {
    return null;
  }
}

/** Exchanges a share for a cookie; null if it went well, else why not, in words. */
export async function openShare(task, share) {
  try {
    await postJson("/share", { task, share });
    return null;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`;
  }
}

/** Opens the share that the address bar holds, if there is one, and takes it out of there. */
export async function openShareOfAddress(task) {
  const { share, rest } = splitFragment(location.hash);
  if (share === null) return null;
  const problem = await openShare(task, share);
  history.replaceState(null, "", location.pathname + location.search + rest);
  return problem;
}
