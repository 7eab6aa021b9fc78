// The dialog that creates a share link, for administrators.

import { ApiError, createShare } from "../shared/api.js";
import { byId } from "../shared/dom.js";
import { dateTime } from "../shared/format.js";
import { linkOf } from "../shared/links.js";
import { at, ROOT } from "../shared/root.js";

/** Shows the share button if `access` is an administrator's and the server requires sign-in. */
export function bindShare(page, access) {
  const allowed = access?.scope === "admin" && access.kind !== "open";
  byId("share-open").hidden = !allowed;
  if (!allowed) return;
  const dialog = byId("share");
  byId("share-open").addEventListener("click", () => {
    byId("share-made").hidden = true;
    showProblem("");
    byId("share-line").hidden = page.marked === null;
    byId("share-line").textContent = page.marked === null ? "" : `The link opens at ${linkOf(page.marked).slice(1)}.`;
    dialog.showModal();
  });
  for (const button of dialog.querySelectorAll("[data-life]")) {
    button.addEventListener("click", () => {
      for (const other of dialog.querySelectorAll("[data-life]")) other.setAttribute("aria-pressed", String(other === button));
      byId("share-made").hidden = true;
    });
  }
  byId("share-make").addEventListener("click", () => createLink(page));
  byId("share-copy").addEventListener("click", copy);
}

function showProblem(text) {
  byId("share-problem").textContent = text;
}

async function createLink(page) {
  const button = byId("share-make");
  button.disabled = true;
  showProblem("");
  try {
    const life = document.querySelector('#share [data-life][aria-pressed="true"]').dataset.life;
    const { url, expires } = await createShare(page.id, life);
    const link = belowRoot(url);
    byId("share-url").value = page.marked === null ? link : `${link}&${linkOf(page.marked).slice(1)}`;
    byId("share-until").textContent = `Expires ${dateTime(Date.parse(expires))}.`;
    byId("share-copy").textContent = "Copy";
    byId("share-made").hidden = false;
    byId("share-url").select();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showProblem(error.message);
  }
  button.disabled = false;
}

// A server without a public address does not know the path prefix of a proxy.
function belowRoot(text) {
  const url = new URL(text);
  if (!url.pathname.startsWith(ROOT)) url.pathname = at(url.pathname);
  return url.href;
}

// Browsers allow clipboard access only over https or on a loopback address; otherwise the text is
// selected for Ctrl+C.
async function copy() {
  byId("share-url").select();
  try {
    await navigator.clipboard.writeText(byId("share-url").value);
    byId("share-copy").textContent = "Copied";
  } catch {
    byId("share-copy").textContent = "Selected";
  }
}
