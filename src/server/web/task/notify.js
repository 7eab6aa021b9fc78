// A desktop notification when the task ends. The browser is asked only after a click.

import { byId } from "../shared/dom.js";
import { commandLine, duration, elapsed, verdict } from "../shared/format.js";
import { say } from "../shared/toast.js";

/** The notification of a task's end. */
export class EndNotification {
  constructor(id) {
    this.id = id;
    this.armed = false;
    this.button = byId("notify");
    this.button.addEventListener("click", () => this.toggle());
  }

  /** Shows the button while the task runs, and the notification when it ends. */
  setTask(task) {
    const ended = task.status !== "running";
    // Browsers offer notifications on secure origins only.
    this.button.hidden = ended || !("Notification" in globalThis) || !globalThis.isSecureContext;
    if (!ended || !this.armed) return;
    this.arm(false);
    const { mark, words } = verdict(task);
    const body = [`after ${duration(elapsed(task, Date.now()))}`, commandLine(task.command)].filter(Boolean).join("\n");
    const shown = new Notification(`${mark} ${words}: ${this.id}`, { body, tag: `tasktail ${this.id}` });
    shown.addEventListener("click", () => globalThis.focus());
  }

  async toggle() {
    if (this.armed) return this.arm(false);
    const permission = await Notification.requestPermission();
    if (permission === "granted") return this.arm(true);
    return say("The browser does not allow notifications here. Allow them in its settings for this site, then try again.");
  }

  arm(armed) {
    this.armed = armed;
    this.button.setAttribute("aria-pressed", String(armed));
    this.button.textContent = armed ? "Notify ✓" : "Notify";
  }
}
