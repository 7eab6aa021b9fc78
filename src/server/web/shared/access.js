// Who looks at the page: the token's name and the way out in the header, and a banner when the
// sign-in has ended while the page was open. The page goes on by itself once there is one again,
// from this tab or another. A server that is open to everyone says so on each of its pages.

import { fetchAccess, postJson } from "./api.js";
import { byId, make } from "./dom.js";
import { dateTime } from "./format.js";

const CHANNEL = "tasktail-access";

/** Where to sign in so that one comes back here. */
export const signInUrl = () => `/login?next=${encodeURIComponent(location.pathname + location.search)}${location.hash}`;

/** A link to the sign-in page; its fragment is what the address bar holds when it is used. */
export function signInLink(words = "Sign in") {
  const link = make("a", { className: "button", href: signInUrl(), textContent: words });
  link.addEventListener("click", () => (link.href = signInUrl()));
  return link;
}

export class Access {
  /** `again()` is called when there may be access again; `task` is the one a share may be of. */
  constructor(again, task) {
    this.again = again;
    this.task = task;
    this.lost = false;
    this.known = null;
    this.channel = new BroadcastChannel(CHANNEL);
    this.channel.addEventListener("message", () => this.lookAgain());
    document.addEventListener("visibilitychange", () => this.lookAgain());
    addEventListener("focus", () => this.lookAgain());
  }

  /** Asks the server who this is; tells other tabs if there is a sign-in. */
  async learn() {
    const access = await fetchAccess(this.task).catch(() => null);
    if (access === null) return null;
    this.known = access;
    if (access.kind === "session") this.channel.postMessage("signed in");
    this.draw();
    return access;
  }

  async lookAgain() {
    if (!this.lost || document.hidden || this.looking) return;
    this.looking = true;
    const access = await fetchAccess(this.task).catch(() => null);
    this.looking = false;
    if (access === null || access.kind === "none" || !this.lost) return;
    this.known = access;
    this.draw();
    this.again();
  }

  /** Whether there is access: a banner says when there is none any more. */
  set(lost) {
    if (lost === this.lost) return;
    this.lost = lost;
    byId("lost")?.remove();
    if (lost) {
      const words = this.known?.kind === "share"
        ? make("span", {}, make("b", { textContent: "This link has ended." }), " What is shown stands still.")
        : make("span", {}, make("b", { textContent: "You are signed out." }), " What is shown stands still.");
      document.querySelector("header").after(make("div", { id: "lost", className: "banner", role: "alert" }, words, signInLink()));
      this.known = null;
    }
    this.draw();
  }

  /** What is served without a guard. Once said it stays: only a restart of the server ends it. */
  warn(exposed) {
    if (exposed.length === 0 || byId("exposed")) return;
    const words = exposed.map((what) => make("span", {}, make("b", { textContent: "Open: " }), what));
    document.querySelector("header").after(make("div", { id: "exposed", className: "banner", role: "alert" }, ...words));
  }

  draw() {
    byId("access")?.remove();
    const access = this.known;
    this.warn(access?.exposed ?? []);
    if (this.lost || access === null || (access.kind !== "session" && access.kind !== "share")) return;
    const until = access.until ? Date.parse(access.until) : NaN;
    const span = make("span", { id: "access", className: "access" });
    if (access.kind === "share") {
      span.append(make("span", { className: "who", textContent: "shared link", title: `You may read this task until ${dateTime(until)}` }));
    } else {
      const title = `Signed in with the token "${access.name}" (${access.scope}) until ${dateTime(until)}`;
      const out = make("button", { type: "button", id: "sign-out", textContent: "Sign out" });
      out.addEventListener("click", () => this.signOut(out));
      span.append(make("span", { className: "who", title }, access.name, make("i", { textContent: access.scope })), out);
    }
    document.querySelector("header .bar.facts").append(span);
  }

  async signOut(button) {
    button.disabled = true;
    try {
      await postJson("/logout", {});
      location.assign(signInUrl());
    } catch (error) {
      button.disabled = false;
      button.textContent = error.status === 0 ? "Sign out: offline" : "Sign out: failed";
    }
  }
}
