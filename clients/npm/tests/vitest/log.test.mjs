import { test } from "tasktail/vitest";
import { expect } from "vitest";

let first;

test("a line is read back", async ({ tasktail }) => {
  first = tasktail.httpUrl;
  await tasktail.append("42", "Building...\n");
  expect(await tasktail.log("42")).toBe("Building...\n");
});

test("the tests of a file share a server", async ({ tasktail }) => {
  expect(tasktail.httpUrl).toBe(first);
});
