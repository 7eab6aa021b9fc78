const tasktail = require("tasktail/jest").useServer();

test("a line is read back", async () => {
  await tasktail.append("42", "Building...\n");
  expect(await tasktail.log("42")).toBe("Building...\n");
});
