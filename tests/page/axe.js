// The examination of pages by axe-core with the rules of WCAG 2.2 A and AA and its best practices, in dark and light, and
// on a phone.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { browser, server } from "./setup.js";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** The looks in which pages are examined. */
export const LOOKS = [
  { colorScheme: "dark" },
  { colorScheme: "light" },
  { colorScheme: "light", viewport: { width: 390, height: 780 } },
];

/** Fails with what axe reports on a page. */
export async function examine(page, state) {
  // By the protocol, which the policy of the page does not restrict.
  await page.evaluate(axe);
  const violations = await page.evaluate(async () => {
    const { violations: found } = await globalThis.axe.run(document, { resultTypes: ["violations"] });
    return found.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).slice(0, 3).join("\n")}`);
  });
  assert.deepEqual(violations, [], state);
}

/** Opens a path in every look at once, waits until `ready(page)`, and examines it. */
export async function examineAll(path, ready, state = path) {
  await Promise.all(LOOKS.map(async (look) => {
    const page = await browser.newPage({ reducedMotion: "reduce", ...look });
    await page.goto(`${server.url}${path}`);
    await ready(page);
    await examine(page, `${state}, ${JSON.stringify(look)}`);
    await page.context().close();
  }));
}
