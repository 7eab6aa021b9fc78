"use strict";
// const tasktail = require("tasktail/jest").useServer(); test("..", () => { tasktail.redisUrl })

const { startServer } = require("./index.cjs");

/** Starts a server before the tests of a file and stops it after them. Its fields are there inside of tests. */
function useServer(options) {
  let server;
  globalThis.beforeAll(async () => {
    server = await startServer(options);
  });
  globalThis.afterAll(async () => {
    await server?.stop();
  });
  return new Proxy({}, {
    get(_, name) {
      if (!server) throw new Error("the server starts with the first test; read its fields inside of tests");
      const value = server[name];
      return typeof value === "function" ? value.bind(server) : value;
    },
  });
}

module.exports = { useServer };
