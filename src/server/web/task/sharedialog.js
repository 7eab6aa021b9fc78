// Making a share link of this task: for those who may.

import { ApiError, makeShare } from "../shared/api.js";
import { byId } from "../shared/dom.js";
import { dateTime } from "../shared/format.js";
import { linkOf } from "../shared/links.js";

/** Shows the way to a link, if `access` is an administrator's and links are of use. */
export function bindShare(page, access) {
  const may = access?.scope === "admin" && access.kind !== "open";
  byId("share-open").hidden = !may;
  if (!may) return;
  const dialog = byId("share");
  byId("share-open").addEventListener("click", () => {
    byId("share-made").hidden = true;
    say("");
    byId("share-line").hidden = page.marked === null;
    byId("share-line").textContent = page.marked === null ? "" : `It goes to ${linkOf(page.marked).slice(1)}.`;
    dialog.showModal();
  });
  for (const button of dialog.querySelectorAll("[data-life]")) {
    button.addEventListener("click", () => {
      for (const other of dialog.querySelectorAll("[data-life]")) other.setAttribute("aria-pressed", String(other === button));
      byId("share-made").hidden = true;
    });
  }
  byId("share-make").addEventListener("click", () => make(page));
  byId("share-copy").addEventListener("click", copy);
}

function say(words) {
  byId("share-problem").textContent = words;
}

async function make(page) {
  const button = byId("share-make");
  button.disabled = true;
  say("");
  try {
    const life = document.querySelector('#share [data-life][aria-pressed="true"]').dataset.life;
    const { url, expires } = await makeShare(page.id, life);
    byId("share-url").value = page.marked === null ? url : `${url}&${linkOf(page.marked).slice(1)}`;
    byId("share-until").textContent = `Good until ${dateTime(Date.parse(expires))}.`;
    byId("share-copy").textContent = "Copy";
    byId("share-made").hidden = false;
    byId("share-url").select();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    say(error.message);
  }
  button.disabled = false;
}

// Only a page that came by https, or from this machine, has a clipboard; elsewhere the text is
// selected, ready for Ctrl-C.
async function copy() {
  byId("share-url").select();
  try {
    await navigator.clipboard.writeText(byId("share-url").value);
    byId("share-copy").textContent = "Copied";
  } catch {
    byId("share-copy").textContent = "Selected";
  }
}
