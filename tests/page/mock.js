// A small stand-in for the server: the routes a page uses, in memory, plus faults that the real
// one must not have (a connection cut at will, a hole, a log that starts anew).

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { MockRuns } from "./mockruns.js";

const ASSETS = new URL("../../src/server/web/", import.meta.url);
const TYPES = { html: "text/html", css: "text/css", js: "text/javascript" };
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const PAGE_LINES = 500;
// Small, so that every filter over a longer log needs more than one request.
const SCAN_LINES_MAX = 700;
const MARK = /^\[(\d+) messages (skipped|lost in transit)\]$/;

class MockTask {
  constructor(id, epoch) {
    this.id = id;
    this.lines = [];
    this.first = 1;
    this.epoch = epoch;
    this.bytes = 0;
    this.facts = { command: [], labels: {}, host: null, status: "running", exit_code: null, signal: null, ended: null };
    this.created = new Date().toISOString();
    this.wakers = new Set();
    this.outline = { sections: [], annotations: [], errors: 0, warnings: 0, scanned_to: 0, truncated: false };
  }

  get last() {
    return this.lines.length;
  }

  facts_now() {
    const { id, facts, created, first, last, bytes } = this;
    return {
      id, ...facts, created, started: facts.started ?? created, lines: last, bytes, first_line: last ? first : 0,
      last_line: last, skipped_lines: 0, trimmed_lines: first - 1, live: facts.status === "running", artifact: null,
      integrity: facts.integrity ?? null,
    };
  }

  append(lines) {
    for (const line of lines) {
      const n = this.lines.length + 1;
      this.lines.push({ n, id: `${n}-0`, timestamp: new Date().toISOString(), stream: "stdout", ...line });
      this.bytes += line.line.length + 1;
    }
    this.wake();
  }

  wake() {
    for (const waker of this.wakers) waker();
  }

  cursor(n) {
    return `m${this.epoch}.${n}`;
  }
}

export class MockServer {
  static async start() {
    const mock = new MockServer();
    await new Promise((resolve) => mock.http.listen(mock.port, "127.0.0.1", resolve));
    mock.port = mock.http.address().port;
    mock.url = `http://127.0.0.1:${mock.port}`;
    return mock;
  }

  constructor() {
    this.port = 0;
    this.tasks = new Map();
    this.runs = new MockRuns();
    this.epochs = 0;
    this.requests = [];
    this.waiting = new Set();
    this.sockets = new Set();
    this.listen();
  }

  listen() {
    this.http = createServer((request, response) => this.answer(request, response).catch((error) => response.destroy(error)));
    this.ws = new WebSocketServer({ server: this.http });
    this.ws.on("connection", (socket, request) => this.view(socket, new URL(request.url, "http://mock")));
  }

  // What a test drives it by; the real server is driven through the same names.

  async start_task(id, facts = {}) {
    Object.assign(this.make(id).facts, facts);
    this.make(id).wake();
  }

  async events(id, events) {
    this.runs.append(id, events);
  }

  async append(id, lines) {
    this.make(id).append(lines);
  }

  async end(id, exitCode) {
    Object.assign(this.tasks.get(id).facts, { status: "completed", exit_code: exitCode, ended: new Date().toISOString() });
    this.tasks.get(id).wake();
  }

  async remove(id) {
    this.tasks.delete(id);
    this.cut();
  }

  // Faults.

  /** Cuts every connection without a goodbye. */
  cut() {
    for (const socket of this.sockets) socket.terminate();
    this.runs.cut();
  }

  /** Answers nothing any more, until `back()`. */
  async away() {
    this.cut();
    this.http.closeAllConnections();
    await new Promise((resolve) => this.http.close(resolve));
  }

  async back() {
    this.listen();
    await new Promise((resolve) => this.http.listen(this.port, "127.0.0.1", resolve));
  }

  /** The task's log is another one from now on. */
  replaceLog(id, lines) {
    const task = this.tasks.get(id);
    task.epoch += 1;
    task.lines = [];
    task.bytes = 0;
    task.append(lines);
  }

  trim(id, first) {
    this.tasks.get(id).first = first;
  }

  async stop() {
    this.cut();
    this.http.closeAllConnections();
    await new Promise((resolve) => this.http.close(resolve));
  }

  make(id) {
    if (!this.tasks.has(id)) {
      this.epochs += 1000;
      this.tasks.set(id, new MockTask(id, this.epochs));
      for (const waker of this.waiting) waker();
    }
    return this.tasks.get(id);
  }

  async answer(request, response) {
    const url = new URL(request.url, "http://mock");
    this.requests.push(url);
    const path = url.pathname;
    if (path === "/") return this.file(response, "task/list.html");
    if (path === "/search") return this.file(response, "task/search.html");
    if (path === "/runs") return this.file(response, "run/list.html");
    if (path.startsWith("/runs/")) return this.file(response, "run/run.html");
    if (path.startsWith("/tasks/")) return this.file(response, "task/task.html");
    if (path.startsWith("/assets/")) return this.file(response, path.slice("/assets/".length));
    const [, id, rest] = /^\/api\/v1\/tasks(?:\/([^/]+)(?:\/(.*))?)?$/.exec(path) ?? [];
    if (this.refuse) return this.problem(response, this.refuse, "unauthorized");
    if (this.runs.answer(this, request, response, url)) return undefined;
    if (path === "/api/v1/search") return this.search(response, url.searchParams);
    if (path === "/api/v1/tasks") return this.json(response, this.list(url.searchParams));
    const task = this.tasks.get(decodeURIComponent(id ?? ""));
    if (!task) return this.problem(response, 404, "not_found");
    if (rest === undefined) return this.json(response, task.facts_now());
    if (rest === "lines") return this.lines(response, task, url.searchParams);
    if (rest === "outline") return this.json(response, task.outline);
    if (rest === "log") return this.log(response, task);
    return this.problem(response, 404, "not_found");
  }

  async file(response, name) {
    const body = await readFile(new URL(name, ASSETS)).catch(() => null);
    if (body === null) return this.problem(response, 404, "not_found");
    response.writeHead(200, { "content-type": TYPES[name.split(".").pop()], "content-security-policy": POLICY });
    response.end(body);
  }

  json(response, value, status = 200) {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(value));
  }

  problem(response, status, code) {
    this.json(response, { type: "about:blank", title: code, status, code, detail: code }, status);
  }

  list(parameters) {
    const label = parameters.get("label");
    const has = ({ facts }) => label === null || Object.entries(facts.labels).some(([key, value]) => `${key}:${value}` === label);
    const all = [...this.tasks.values()].reverse().filter(has);
    const limit = Number(parameters.get("limit") ?? 100);
    const start = Number(parameters.get("after") ?? 0);
    return { tasks: all.slice(start, start + limit).map((task) => task.facts_now()), next: start + limit < all.length ? String(start + limit) : null };
  }

  search(response, parameters) {
    const q = parameters.get("q");
    const expression = new RegExp(q.replace(/^\(\?i\)/, ""), q.startsWith("(?i)") ? "i" : "");
    const limit = Number(parameters.get("limit") ?? 1000);
    const start = Number(parameters.get("after") ?? 0);
    const all = [...this.tasks.values()].reverse().flatMap((task) => task.lines.filter(({ line }) => expression.test(line)).map(({ n, line }) => ({ task: task.id, n, line })));
    const rows = [...all.slice(start, start + limit), { next: start + limit < all.length ? String(start + limit) : null }];
    response.writeHead(200, { "content-type": "application/x-ndjson" });
    response.end(rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  }

  log(response, task) {
    response.writeHead(200, { "content-type": "application/x-ndjson" });
    response.end(task.lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  }

  lines(response, task, parameters) {
    let expression = null;
    try {
      const q = parameters.get("q");
      if (q !== null) expression = new RegExp(q.replace(/^\(\?i\)/, ""), q.startsWith("(?i)") ? "i" : "");
    } catch {
      return this.problem(response, 400, "bad_request");
    }
    const streams = parameters.get("stream")?.split(",");
    const after = parameters.get("after");
    const from = Math.max(task.first, after ? Number(after.split(".")[1]) + 1 : Number(parameters.get("from") ?? 1));
    const limit = Number(parameters.get("limit") ?? 1000);
    const lines = [];
    const filters = streams !== undefined || expression !== null;
    const end = filters ? Math.min(task.last, from + SCAN_LINES_MAX - 1) : task.last;
    for (let n = from; n <= end && lines.length < limit; n += 1) {
      const line = task.lines[n - 1];
      if (streams && !streams.includes(line.stream)) continue;
      if (expression && !expression.test(line.line)) continue;
      lines.push(line);
    }
    const reached = lines.length === limit ? lines[limit - 1].n : Math.max(end, from - 1);
    this.json(response, { lines, cursor: task.cursor(reached), next_line: reached + 1, first_line: task.first, last_line: task.last, gaps: [] });
  }

  view(socket, url) {
    this.sockets.add(socket);
    const id = decodeURIComponent(url.pathname.split("/").pop());
    const stop = () => {
      this.sockets.delete(socket);
      this.waiting.delete(begin);
    };
    const begin = () => {
      const task = this.tasks.get(id);
      if (!task) return;
      this.waiting.delete(begin);
      this.follow(socket, task, url.searchParams);
    };
    socket.on("close", stop);
    if (this.tasks.has(id)) begin();
    else if (url.searchParams.get("wait") === "1") this.waiting.add(begin);
    else {
      socket.send(JSON.stringify({ type: "error", code: "not_found", message: "no such task" }));
      socket.close();
    }
  }

  follow(socket, task, parameters) {
    const send = (message) => socket.send(JSON.stringify(message));
    let at = Math.max(task.first, task.last - Number(parameters.get("tail") ?? task.last) + 1);
    let epoch = task.epoch;
    send({ type: "open", task: task.facts_now(), epoch: String(epoch), first_line: task.last ? task.first : 0, last_line: task.last });
    const [, cursorEpoch, cursorLine] = /^m(\d+)\.(\d+)$/.exec(parameters.get("after") ?? "") ?? [];
    const anew = () => {
      epoch = task.epoch;
      at = task.first;
      send({ type: "reset", epoch: String(epoch), reason: "the log is another one" });
    };
    if (cursorEpoch && Number(cursorEpoch) !== epoch) anew();
    else if (cursorEpoch) at = Number(cursorLine) + 1;
    let status = JSON.stringify(task.facts);
    const pump = () => {
      if (socket.readyState !== 1) {
        task.wakers.delete(pump);
        return;
      }
      if (epoch !== task.epoch) anew();
      while (at <= task.last) at = this.sendPage(send, task, at);
      if (status !== JSON.stringify(task.facts)) send({ type: "status", task: task.facts_now() });
      status = JSON.stringify(task.facts);
      if (task.facts.status !== "completed") return;
      task.wakers.delete(pump);
      send({ type: "end", task: task.facts_now(), cursor: task.cursor(task.last) });
      socket.close(1000);
    };
    task.wakers.add(pump);
    pump();
  }

  // A page ends at a mark, and the gap that the mark stands for comes right behind it.
  sendPage(send, task, at) {
    const lines = task.lines.slice(at - 1, at - 1 + PAGE_LINES);
    const mark = lines.findIndex((line) => line.stream === "internal" && MARK.test(line.line));
    const page = mark < 0 ? lines : lines.slice(0, mark + 1);
    const last = page[page.length - 1];
    send({ type: "lines", lines: page, cursor: task.cursor(last.n) });
    if (mark >= 0) {
      const [, count, words] = MARK.exec(last.line);
      const reason = words === "skipped" ? "skipped" : "lost_in_transit";
      send({ type: "gap", from: last.n, to: last.n, reason, count: Number(count), cursor: task.cursor(last.n) });
    }
    return last.n + 1;
  }
}
