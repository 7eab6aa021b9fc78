// The sign-in page and the page for a frame of another site, examined by axe-core.

import { test } from "node:test";
import { examineAll } from "./axe.js";
import { GuardedServer } from "./door.js";
import { someLines, until, untilVisible } from "./harness.js";
import { server, setUp, untilText } from "./setup.js";

setUp(() => GuardedServer.start(process.env.TASKTAIL_BIN, ["--frame-ancestors", "https://ci.example", "--auth-failures-max", "1000"]));

test("the sign-in page, and what it answers to a wrong token", async () => {
  await examineAll("/login", (page) => page.locator("#sign-in").waitFor());
  await examineAll("/login?next=%2Fruns", async (page) => {
    await page.fill("#token", "tt_wrong");
    await page.click("#sign-in .primary");
    await untilText(page, "#problem", "Invalid token");
  }, "a wrong token");
});

test("the page for a frame: a log that runs, one that ended, and a share that is not valid", async () => {
  await server.append("framed", [...someLines(50), { line: "to stderr", stream: "stderr" }]);
  const path = async () => `/embed/framed#${(await server.share("framed")).split("#")[1]}`;
  await examineAll(await path(), (page) => untilVisible(page, 51), "a frame, live");
  await server.end("framed", 1);
  await examineAll(await path(), async (page) => {
    await untilVisible(page, 51);
    await untilText(page, "#state", "exit 1");
  }, "a frame, ended");
  await examineAll("/embed/framed#share=nonsense", (page) => until(page, () => document.getElementById("notice").textContent.includes("Not readable")), "a frame without access");
});
