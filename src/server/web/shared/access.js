// Shows the signed-in user with a sign-out button in the header, and a banner when the session ends
// while the page is open. The page resumes after a new sign-in in this tab or another. A banner also
// lists what the server exposes without protection.

import { fetchAccess, postJson } from "./api.js";
import { byId, make } from "./dom.js";
import { dateTime } from "./format.js";
import { at, localPath } from "./root.js";

const CHANNEL = "tasktail-access";

/** Returns the URL of the sign-in page, which leads back here. */
export const signInUrl = () =>
  at(`/login?next=${encodeURIComponent(localPath(location.pathname) + location.search)}${location.hash}`);

/** Returns a link to the sign-in page; a click adds the current fragment to it. */
export function signInLink(text = "Sign in") {
  const link = make("a", { className: "button", href: signInUrl(), textContent: text });
  link.addEventListener("click", () => (link.href = signInUrl()));
  return link;
}

/** The access of this browser to the page. */
export class Access {
  /** Calls `onRestored()` when access may be restored; `task` is one that may be shared with this browser. */
  constructor(onRestored, task) {
    this.onRestored = onRestored;
    this.task = task;
    this.lost = false;
    this.known = null;
    this.channel = new BroadcastChannel(CHANNEL);
    this.channel.addEventListener("message", () => this.recheck());
    document.addEventListener("visibilitychange", () => this.recheck());
    addEventListener("focus", () => this.recheck());
  }

  /** Loads the identity from the server; notifies other tabs of a session. */
  async load() {
    const access = await fetchAccess(this.task).catch(() => null);
    if (access === null) return null;
    this.known = access;
    if (access.kind === "session") this.channel.postMessage("signed in");
    this.draw();
    return access;
  }

  /** Checks whether lost access is restored. */
  async recheck() {
    if (!this.lost || document.hidden) return;
    // A sign-in during the request may be newer than its answer: then ask once more.
    this.recheckNeeded = true;
    if (this.checking) return;
    this.checking = true;
    let access = null;
    while (this.recheckNeeded && (access === null || access.kind === "none")) {
      this.recheckNeeded = false;
      access = await fetchAccess(this.task).catch(() => null);
    }
    this.checking = false;
    if (access === null || access.kind === "none" || !this.lost) return;
    this.known = access;
    this.draw();
    this.onRestored();
  }

  /** Shows the banner when access is lost, and removes it when it is restored. */
  setLost(lost) {
    if (lost === this.lost) return;
    this.lost = lost;
    byId("lost")?.remove();
    if (lost) {
      const text = this.known?.kind === "share"
        ? make("span", {}, make("b", { textContent: "This link has expired." }), " This page is no longer updating.")
        : make("span", {}, make("b", { textContent: "You are signed out." }), " This page is no longer updating.");
      document.querySelector("header").after(make("div", { id: "lost", className: "banner", role: "alert" }, text, signInLink()));
      this.known = null;
    }
    this.draw();
  }

  /** Lists what the server exposes without protection. The banner stays: only a server restart changes that. */
  showExposed(exposed) {
    if (exposed.length === 0 || byId("exposed")) return;
    const text = exposed.map((warning) => make("span", {}, make("b", { textContent: "Insecure: " }), warning));
    document.querySelector("header").after(make("div", { id: "exposed", className: "banner", role: "alert" }, ...text));
  }

  draw() {
    byId("access")?.remove();
    const access = this.known;
    this.showExposed(access?.exposed ?? []);
    if (this.lost || access === null || (access.kind !== "session" && access.kind !== "share")) return;
    const until = access.until ? Date.parse(access.until) : NaN;
    const span = make("span", { id: "access", className: "access" });
    if (access.kind === "share") {
      span.append(make("span", { className: "who", textContent: "shared link", title: `This link expires ${dateTime(until)}` }));
    } else {
      const title = `Signed in with token "${access.name}" (${access.scope}) until ${dateTime(until)}`;
      const button = make("button", { type: "button", id: "sign-out", textContent: "Sign out" });
      button.addEventListener("click", () => this.signOut(button));
      span.append(make("span", { className: "who", title }, access.name, make("i", { textContent: access.scope })), button);
    }
    document.querySelector("header .bar.facts").append(span);
  }

  async signOut(button) {
    button.disabled = true;
    try {
      await postJson(at("/logout"), {});
      location.assign(signInUrl());
    } catch (error) {
      button.disabled = false;
      button.textContent = error.status === 0 ? "Sign-out failed: offline" : "Sign-out failed";
    }
  }
}
