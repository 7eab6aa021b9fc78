// import { test } from "tasktail/vitest"; test("..", async ({ tasktail }) => { tasktail.redisUrl })
import { test as base } from "vitest";
import { startServer } from "./index.mjs";

/** vitest's `test` with a server for each test file, which starts when a test first uses it. */
export const test = base.extend({
  tasktail: [
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads the names of the fixtures from it.
    async ({}, use) => {
      const server = await startServer();
      await use(server);
      await server.stop();
    },
    { scope: "file" },
  ],
});
export const it = test;
