// The sign-in page. The form works without this script, which adds what needs the URL fragment:
// opening share links, whose secret never reaches the server in a request line, and returning to
// the linked line.

import { fetchAccess } from "./api.js";
import { byId } from "./dom.js";
import { at } from "./root.js";
import { openShare, splitFragment, taskOf } from "./share.js";

const next = byId("next");

// A fragment survives the redirect to this page, but not the form submission.
function appendFragment() {
  const { rest } = splitFragment(location.hash);
  if (!next.value.includes("#")) next.value += rest;
}

function showOpening(opening) {
  byId("opening").hidden = !opening;
  byId("sign-in").hidden = opening;
}

async function openShared(share) {
  showOpening(true);
  const task = taskOf(next.value.split(/[?#]/)[0]);
  const problem = task === null ? "This link does not contain a task." : await openShare(task, share);
  appendFragment();
  if (problem === null) {
    location.replace(at(next.value));
    return;
  }
  history.replaceState(null, "", location.pathname + location.search);
  byId("problem").textContent = problem;
  showOpening(false);
  byId("token").focus();
}

// A signed-in browser that follows a link from another site sends no cookie with its first request.
async function continueIfSignedIn() {
  const access = await fetchAccess().catch(() => null);
  if (access !== null && (access.kind === "session" || access.kind === "open")) location.replace(at(next.value));
  else byId("sign-in").addEventListener("submit", appendFragment);
}

const { share } = splitFragment(location.hash);
if (share !== null) openShared(share);
else {
  appendFragment();
  if (byId("problem").textContent === "") continueIfSignedIn();
}
