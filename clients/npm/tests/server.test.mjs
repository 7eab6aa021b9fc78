import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { connect } from "node:net";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { findBinary, startServer } from "../src/index.mjs";

/** Reports whether a port accepts connections. */
function answers(url) {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(port, hostname);
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false)).once("connect", () => socket.destroy());
  });
}

test("a server keeps logs until it is stopped", async () => {
  const server = await startServer();
  const appended = await server.append("build-7", "a\nb\n");
  assert.equal(appended.last_line, 2);
  assert.equal(await server.log("build-7"), "a\nb\n");
  assert.equal((await server.task("build-7")).status, "running");
  assert.deepEqual([await answers(server.httpUrl), await answers(server.redisUrl)], [true, true]);
  await assert.rejects(server.log("nothing"), /404/);
  await server.stop();
  await server.stop();
  assert.equal(await answers(server.httpUrl), false);
});

test("options are passed on, and a failed start reports the cause", async () => {
  const server = await startServer({ redis: false, args: ["--worker-grace", "7s"] });
  assert.equal(server.redisUrl, undefined);
  const metrics = await (await fetch(`${server.httpUrl}/metrics`)).text();
  assert.match(metrics, /tasktail_limit\{limit="worker_grace",unit="seconds"\} 7/);
  await server.stop();
  await assert.rejects(startServer({ args: ["--worker-grace", "soon"] }), /is not a duration/);
});

test("commands in child processes use the server", async () => {
  const server = await startServer();
  const args = ["run", "--task", "child", "--pty", "never", "--quiet", "--", "echo", "hello"];
  const run = spawn(findBinary(), args, { env: { ...process.env, ...server.env }, stdio: "ignore" });
  assert.deepEqual(await once(run, "exit"), [0, null]);
  assert.match(await server.log("child"), /^hello$/m);
  await server.stop();
});

test("a server ends with a test run that is killed", async () => {
  const index = createRequire(import.meta.url).resolve("../src/index.cjs");
  const program = `require(${JSON.stringify(index)}).startServer().then((s) => { console.log(s.httpUrl); setInterval(() => {}, 1e6) })`;
  const owner = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(owner.stdout.setEncoding("utf8"), "data");
  const url = line.trim();
  assert.equal(await answers(url), true);
  owner.kill("SIGKILL");
  const deadline = Date.now() + 10_000;
  while (await answers(url)) assert.ok(Date.now() < deadline, "the server is still there");
});

test("a process that does not stop its server can end", async () => {
  const index = fileURLToPath(new URL("../src/index.mjs", import.meta.url));
  const program = `import { startServer } from ${JSON.stringify(index)}; await startServer();`;
  const owner = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: "inherit" });
  assert.deepEqual(await once(owner, "exit"), [0, null]);
});
