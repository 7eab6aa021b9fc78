"use strict";
// Starts `tasktail serve --ephemeral` for tests. The server and its data end with `stop`, or with this process.

const { spawn } = require("node:child_process");
const { existsSync } = require("node:fs");
const { delimiter, join } = require("node:path");

/** Milliseconds in which a server must print its addresses. */
const START_TIMEOUT = 10_000;
/** Milliseconds in which a server must end after SIGTERM. */
const STOP_TIMEOUT = 6_000;

function findBinary() {
  if (process.env.TASKTAIL_BIN) return process.env.TASKTAIL_BIN;
  const platform = `@tasktail/${process.platform}-${process.arch}`;
  try {
    return require.resolve(`${platform}/bin/tasktail`);
  } catch {
    // The package of another platform, or installed without optional dependencies.
  }
  const onPath = (process.env.PATH ?? "").split(delimiter).filter(Boolean).map((folder) => join(folder, "tasktail"));
  const found = onPath.find(existsSync);
  if (found) return found;
  throw new Error(`the tasktail program is not installed: install ${platform}, or set TASKTAIL_BIN`);
}

class Server {
  #child;
  #ended;

  constructor(child, ended, addresses) {
    this.#child = child;
    this.#ended = ended;
    this.httpUrl = addresses.http;
    this.redisUrl = addresses.redis;
    this.env = { TASKTAIL_URL: addresses.http };
  }

  async #get(path) {
    const response = await fetch(this.httpUrl + path);
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response;
  }

  async log(task) {
    return (await this.#get(`/api/v1/tasks/${encodeURIComponent(task)}/log`)).text();
  }

  async task(task) {
    return (await this.#get(`/api/v1/tasks/${encodeURIComponent(task)}`)).json();
  }

  async append(task, text) {
    const url = `${this.httpUrl}/api/v1/tasks/${encodeURIComponent(task)}/lines`;
    const response = await fetch(url, { method: "POST", headers: { "content-type": "text/plain" }, body: text });
    if (!response.ok) throw new Error(`append to ${task}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  async stop() {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_TIMEOUT);
    await this.#ended;
    clearTimeout(timer);
  }

  async [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]() {
    await this.stop();
  }
}

/** Returns the first line that a process prints. */
function firstLine(child, ended) {
  return new Promise((resolve, reject) => {
    let text = "";
    let errors = "";
    child.stderr.setEncoding("utf8").on("data", (chunk) => (errors = (errors + chunk).slice(-4096)));
    const timer = setTimeout(() => reject(new Error(`tasktail did not start in ${START_TIMEOUT} ms: ${errors}`)), START_TIMEOUT);
    child.stdout.setEncoding("utf8").on("data", (chunk) => {
      text += chunk;
      if (!text.includes("\n")) return;
      clearTimeout(timer);
      resolve(text.slice(0, text.indexOf("\n")));
    });
    ended.then((how) => {
      clearTimeout(timer);
      reject(new Error(`tasktail ended at its start (${how}): ${errors.trim()}`));
    });
  });
}

async function startServer({ redis = true, args = [], env = {} } = {}) {
  const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TASKTAIL_")));
  const command = ["serve", "--ephemeral", ...(redis ? ["--resp", "127.0.0.1:0"] : []), ...args];
  const child = spawn(findBinary(), command, { stdio: ["ignore", "pipe", "pipe"], env: { ...own, ...env } });
  const ended = new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
  try {
    const server = new Server(child, ended, JSON.parse(await firstLine(child, ended)));
    // A test run may end without `stop`: the server ends with its parent.
    child.unref();
    child.stdout.unref?.();
    child.stderr.unref?.();
    return server;
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

module.exports = { findBinary, startServer };
