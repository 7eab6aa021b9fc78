// Servers and browsers for the tests.
//
// TASKTAIL_BIN names the binary under test; tests that need faults use the mock in any case.
// PAGE_MOCK=1 runs everything against the mock. PAGE_ASSETS=disk serves pages, scripts and styles from the
// working tree instead of the binary, to work on them without building. PAGE_VERBOSE=1 shows the
// server's log. CHROMIUM sets another browser.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import WebSocket from "ws";
import { MockServer } from "./mock.js";

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
  // Otherwise every window renders the browser's own menus in advance, in several processes each.
  "--disable-features=PreloadTopChromeWebUI",
];
const BATCH_LINES = 5000;
/** Upper bound of every wait, for slow machines. */
export const TIMEOUT_MS = 30_000;

/** The server under test. */
export async function startServer() {
  if (process.env.PAGE_MOCK === "1") return MockServer.start();
  const binary = process.env.TASKTAIL_BIN;
  if (!binary) throw new Error("set TASKTAIL_BIN to the tasktail binary, or PAGE_MOCK=1");
  return RealServer.start(binary);
}

export class RealServer {
  static async start(binary, flags = []) {
    const server = new RealServer();
    server.binary = binary;
    server.flags = flags;
    server.data = await mkdtemp(join(tmpdir(), "tasktail-page-"));
    await server.spawn("127.0.0.1:0");
    return server;
  }

  async spawn(listen) {
    const child = spawn(this.binary, ["serve", "--listen", listen, "--data", join(this.data, "store"), ...(this.flags ?? [])], {
      stdio: ["ignore", "pipe", this.token ? "pipe" : process.env.PAGE_VERBOSE === "1" ? "inherit" : "ignore"],
      env: this.token ? { ...process.env, TASKTAIL_LOG: "trace" } : process.env,
    });
    this.child = child;
    child.stderr?.setEncoding("utf8").on("data", (text) => (this.trace = (this.trace ?? "") + text));
    this.url = await new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
      createInterface({ input: child.stdout }).on("line", (line) => {
        const match = /listening on (http:\S+)/.exec(line);
        if (match) resolve(match[1]);
      });
    });
  }

  /** Kills it, as a power cut would. */
  async away() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGKILL");
    await ended;
  }

  /** Starts it again, where it was. */
  async back() {
    await this.spawn(new URL(this.url).host);
  }

  /** Starts a task with facts that only a worker can tell. */
  async start_task(id, facts = {}) {
    const socket = new WebSocket(`${this.url.replace("http", "ws")}/ws/v1/worker`, { headers: this.headers() });
    const heard = (type) => new Promise((resolve, reject) => {
      socket.on("error", reject);
      socket.on("message", (data) => JSON.parse(data).type === type && resolve());
    });
    const resumed = heard("resume");
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    const send = (message) => socket.send(JSON.stringify(message));
    send({ type: "hello", protocol: 1, worker: "page-test" });
    send({ type: "task_start", work_request_id: id, session: "s1", timestamp: new Date().toISOString(), ...facts });
    await resumed;
    this.workers = [...(this.workers ?? []), socket];
  }

  /** Sends a message of the worker that `start_task` started last. */
  say(message) {
    this.workers.at(-1).send(JSON.stringify(message));
  }

  /** Those of every request: a server with tokens asks for one. */
  headers(more = {}) {
    return this.token ? { authorization: `Bearer ${this.token}`, ...more } : more;
  }

  async append(id, lines) {
    for (let at = 0; at < lines.length; at += BATCH_LINES) {
      const body = lines.slice(at, at + BATCH_LINES).map((line) => JSON.stringify(line)).join("\n") + "\n";
      await this.post(`${encodeURIComponent(id)}/lines`, "application/x-ndjson", body);
    }
  }

  /** Posts events of a run. */
  async events(id, events) {
    for (let at = 0; at < events.length; at += BATCH_LINES) {
      const body = events.slice(at, at + BATCH_LINES).map((event) => JSON.stringify(event)).join("\n") + "\n";
      const url = `${this.url}/api/v1/runs/${encodeURIComponent(id)}/events`;
      const headers = this.headers({ "content-type": "application/x-ndjson" });
      const response = await fetch(url, { method: "POST", headers, body });
      if (!response.ok) throw new Error(`${id}: ${response.status} ${await response.text()}`);
    }
  }

  async end(id, exitCode) {
    await this.post(`${encodeURIComponent(id)}/end`, "application/json", JSON.stringify({ exit_code: exitCode }));
  }

  async remove(id) {
    const url = `${this.url}/api/v1/tasks/${encodeURIComponent(id)}`;
    const response = await fetch(url, { method: "DELETE", headers: this.headers() });
    if (!response.ok) throw new Error(`${id} is not removed: ${response.status}`);
  }

  async post(path, type, body) {
    const headers = this.headers({ "content-type": type });
    const response = await fetch(`${this.url}/api/v1/tasks/${path}`, { method: "POST", headers, body });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  }

  async stop() {
    for (const worker of this.workers ?? []) worker.terminate();
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGTERM");
    await ended;
    await rm(this.data, { recursive: true, force: true });
  }
}

// The headless shell is the same engine without the windows of a browser.
const BROWSERS = ["/usr/lib/chromium/chromium-headless-shell", "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** A fresh browser; `newPage()` gives a page that fails the test on any script error. */
export async function startBrowser() {
  const executablePath = process.env.CHROMIUM ?? BROWSERS.find(existsSync);
  // A page from disk has no address of its own, and may connect to this host only with this flag.
  const args = process.env.PAGE_ASSETS === "disk" ? [...FLAGS, "--disable-features=LocalNetworkAccessChecks"] : FLAGS;
  const browser = await chromium.launch({ executablePath, args, headless: true });
  const contexts = new Set();
  return {
    errors: [],
    violations: [],
    async newPage(options = {}) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
      contexts.add(context);
      context.once("close", () => contexts.delete(context));
      return this.another(context);
    },
    /** One more tab of a browser. */
    async another(context) {
      const page = await context.newPage();
      page.setDefaultTimeout(TIMEOUT_MS);
      if (process.env.PAGE_ASSETS === "disk") {
        await context.route("**/assets/**", (route) => fromDisk(route, assetOf(route)));
        await context.route((url) => PAGES.some(([path]) => path.test(url.pathname)), pageFromDisk);
      }
      page.on("pageerror", (error) => this.errors.push(error.stack ?? error.message));
      page.on("console", (message) => {
        if (/Content Security Policy/.test(message.text())) this.violations.push(`${page.url()}: ${message.text()}`);
      });
      return page;
    },
    /** Closes all pages: one that stays open goes on asking the server. */
    async closePages() {
      await Promise.all([...contexts].map((context) => context.close()));
    },
    async stop() {
      await browser.close();
    },
  };
}

// The pages and their files in `src/server/web`.
const PAGES = [
  [/^\/$/, "task/list.html"],
  [/^\/tasks\/[^/]+$/, "task/task.html"],
  [/^\/search$/, "task/search.html"],
  [/^\/runs$/, "run/list.html"],
  [/^\/runs\/[^/]+$/, "run/run.html"],
];
const TYPES = { css: "text/css", html: "text/html; charset=utf-8", js: "text/javascript" };

const assetOf = (route) => new URL(route.request().url()).pathname.split("/assets/")[1];

// Keeps the headers of the server, which has the policy of the page.
async function pageFromDisk(route) {
  const response = await route.fetch({ maxRedirects: 0 });
  const { pathname } = new URL(route.request().url());
  const [, name] = PAGES.find(([path]) => path.test(pathname));
  if (response.status() !== 200) return route.fulfill({ response });
  return route.fulfill({ response, body: await readFile(new URL(`../../src/server/web/${name}`, import.meta.url)) });
}

async function fromDisk(route, name) {
  const body = await readFile(new URL(`../../src/server/web/${name}`, import.meta.url));
  await route.fulfill({ body, contentType: TYPES[name.split(".").at(-1)] });
}

/** `count` plain lines, numbered from `first`. */
export function someLines(count, first = 1, stream = "stdout") {
  return Array.from({ length: count }, (_, i) => ({ line: `line ${first + i} of the log`, stream }));
}

// What a test asks a page.

export const row = (page, n) => page.locator(`.row[data-n="${n}"]`);
export const rowText = (page, n) => row(page, n).locator(".text");

/** Waits until a function of the page says true. */
export const until = (page, check, argument) => page.waitForFunction(check, argument, { polling: 20 });

/** Waits until the rows of a log no longer move, as after a turn of the wheel, which the browser draws in several frames. */
export const untilStill = (page) =>
  page.evaluate((framesStill) => new Promise((resolve) => {
    const log = document.getElementById("log");
    const places = () => JSON.stringify([...log.querySelectorAll(".row")].map((one) => [one.dataset.n, one.getBoundingClientRect().top]));
    let before = null;
    let same = 0;
    const look = () => {
      const now = places();
      same = now === before ? same + 1 : 0;
      before = now;
      if (same === framesStill) resolve();
      else requestAnimationFrame(look);
    };
    look();
  }), 6);

/**
 * Returns the longest time, in ms, that a page's main thread computed between two frames while `work` lasted.
 * Time that other processes had the processor does not count.
 */
export async function longestFrame(page, work) {
  await page.evaluate(() => {
    const frame = () => requestAnimationFrame(frame);
    frame();
  });
  const browser = page.context().browser();
  await browser.startTracing(page, { categories: ["-*", "devtools.timeline"] });
  let trace;
  try {
    await work();
  } finally {
    trace = await browser.stopTracing();
  }
  const begins = new Map();
  for (const { name, pid, tid, tts } of JSON.parse(trace).traceEvents) {
    if (name !== "FireAnimationFrame" || tts === undefined) continue;
    const thread = `${pid} ${tid}`;
    begins.set(thread, [...(begins.get(thread) ?? []), tts]);
  }
  const gaps = [...begins.values()].flatMap((times) => {
    times.sort((a, b) => a - b);
    return times.slice(1).map((time, i) => time - times[i]);
  });
  if (gaps.length === 0) throw new Error("the trace has no frames");
  return gaps.reduce((longest, gap) => Math.max(longest, gap)) / 1000;
}

/** The numbers of the rows inside the viewport, top to bottom. */
export function visibleNumbers(page) {
  return page.evaluate(() => {
    const box = document.getElementById("log").getBoundingClientRect();
    return [...document.querySelectorAll(".row[data-n]")]
      .filter((element) => {
        const { top, bottom } = element.getBoundingClientRect();
        return top >= box.top - 1 && bottom <= box.bottom + 1;
      })
      .map((element) => Number(element.dataset.n));
  });
}

/** Waits until line n stands inside the viewport. */
export const untilVisible = (page, n) =>
  until(page, (number) => {
    const element = document.querySelector(`.row[data-n="${number}"]`);
    if (!element) return false;
    const box = document.getElementById("log").getBoundingClientRect();
    const { top, bottom } = element.getBoundingClientRect();
    return top >= box.top - 1 && bottom <= box.bottom + 1;
  }, n);
