// The sign-in page: a form that works without this script, which adds what only a script can do:
// a share link, whose secret stands in the fragment and so reaches no server by itself, and the
// line that the fragment names.

import { fetchAccess } from "./api.js";
import { byId } from "./dom.js";
import { openShare, splitFragment, taskOf } from "./share.js";

const next = byId("next");

// A fragment outlives the redirect to this page, but not the form.
function keepLine() {
  const { rest } = splitFragment(location.hash);
  if (!next.value.includes("#")) next.value += rest;
}

function show(opening) {
  byId("opening").hidden = !opening;
  byId("sign-in").hidden = opening;
}

async function openShared(share) {
  show(true);
  const task = taskOf(next.value.split(/[?#]/)[0]);
  const problem = task === null ? "This link names no task." : await openShare(task, share);
  keepLine();
  if (problem === null) {
    location.replace(next.value);
    return;
  }
  history.replaceState(null, "", location.pathname + location.search);
  byId("problem").textContent = problem;
  show(false);
  byId("token").focus();
}

// A browser that comes from another site's link sends no cookie with its first request, though it
// is signed in.
async function goOnIfSignedIn() {
  const access = await fetchAccess().catch(() => null);
  if (access !== null && (access.kind === "session" || access.kind === "open")) location.replace(next.value);
  else byId("sign-in").addEventListener("submit", keepLine);
}

const { share } = splitFragment(location.hash);
if (share !== null) openShared(share);
else {
  keepLine();
  if (byId("problem").textContent === "") goOnIfSignedIn();
}
