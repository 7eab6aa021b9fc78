import type { TestAPI } from "vitest";
import type { Server } from "./index";

/** vitest's `test` with a server for each test file, which starts when a test first uses it. */
export const test: TestAPI<{ tasktail: Server }>;
export const it: typeof test;
