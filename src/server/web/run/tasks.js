// The links from a run to its tasks, which have the label `run: ID`.

import { exactId, fetchTasks } from "../shared/api.js";
import { byId, make } from "../shared/dom.js";
import { at } from "../shared/root.js";

const TASKS_MAX = 20;
const LINKS_MAX = 3;

/** Loads the tasks of a run and links the newest ones in the header; hidden if there are none. */
export async function linkTasks(id) {
  const found = await fetchTasks({ label: `run:${id}`, limit: TASKS_MAX }).catch(() => null);
  if (found === null) return;
  const { tasks, next } = found;
  const links = tasks.slice(0, LINKS_MAX).map((task) =>
    make("a", { className: "chip", href: at(`/tasks/${encodeURIComponent(exactId(task))}`), title: "Open this task", textContent: task.id }));
  if (tasks.length > LINKS_MAX) {
    const rest = `${tasks.length - LINKS_MAX}${next === null ? "" : "+"} more`;
    const filter = encodeURIComponent(`run:${id}`);
    links.push(make("a", { className: "chip", href: at(`/?filter=${filter}`), title: "List the tasks of this run", textContent: rest }));
  }
  byId("run-tasks").replaceChildren(tasks.length === 1 ? "task:" : "tasks:", ...links);
  byId("run-tasks").hidden = tasks.length === 0;
}
