// The routes of runs for the mock server: events in memory, their stream, a state that a test sets.


class MockRun {
  constructor(id, birth) {
    this.id = id;
    this.birth = birth;
    this.events = [];
    this.state = {};
    this.wakers = new Set();
  }

  cursor(n) {
    return `c1.${this.birth.toString(16)}.1.${n.toString(16)}.1767435305000-${n}`;
  }

  now() {
    const last = this.events[this.events.length - 1];
    return {
      id: this.id, status: "running", state: null, reason: null, started: "2026-01-03T10:15:05.000Z", ended: null,
      updated: last?.received_utc ?? null, source: last?.source ?? null, events: this.events.length, failures: 0,
      journal: [], steps: [], gates: [], warnings: [], ...this.state,
    };
  }

  append(events) {
    const received_utc = new Date().toISOString();
    for (const event of events) this.events.push({ ...event, event_id: `e${this.events.length + 1}`, source: "http", received_utc });
    for (const waker of [...this.wakers]) waker();
  }
}

const isFailure = (event) => /\.failed$/.test(event.event_type ?? "") || event.level === "ERROR" || (event.type !== "log" && event.status === "failed");

export class MockRuns {
  constructor() {
    this.runs = new Map();
    this.births = 0;
    this.pipeline = { hops: [] };
    this.ownPipeline = { hops: [] };
    this.streams = new Set();
    this.waiting = new Set();
    /** The status that streams, and what a page asks beside them, are refused with. */
    this.refuse = null;
    /** What a proxy between page and server does with streams: null, "head" (keeps back all but the start) or "all". */
    this.storing = null;
    /** Requests for streams, with the cursor after which each one begins. */
    this.opened = [];
  }

  make(id) {
    if (!this.runs.has(id)) {
      this.births += 1;
      this.runs.set(id, new MockRun(id, this.births));
    }
    return this.runs.get(id);
  }

  append(id, events) {
    const run = this.make(id);
    run.append(events);
    for (const waker of [...this.waiting]) waker();
  }

  /** The run's log is another one from now on. */
  replaceLog(id, events) {
    const { wakers } = this.make(id);
    this.runs.delete(id);
    const run = this.make(id);
    run.append(events);
    for (const waker of [...wakers]) waker();
  }

  cut() {
    for (const response of this.streams) response.destroy();
  }

  /** Answers a route of runs; false if it is none. */
  answer(server, request, response, url) {
    if (url.pathname === "/api/v1/pipeline") {
      server.json(response, this.pipeline);
      return true;
    }
    const [, id, rest] = /^\/api\/v1\/runs(?:\/([^/]+)(?:\/(.*))?)?$/.exec(url.pathname) ?? [null, null, null];
    if (!url.pathname.startsWith("/api/v1/runs")) return false;
    if (this.refuse) {
      server.problem(response, this.refuse, "refused");
      return true;
    }
    if (rest === "pipeline") {
      server.json(response, this.ownPipeline);
      return true;
    }
    if (id === undefined) {
      server.json(response, { runs: [...this.runs.values()].reverse().map((run) => run.now()) });
      return true;
    }
    const run = this.runs.get(decodeURIComponent(id));
    if (rest === "events/stream") this.stream(server, request, response, decodeURIComponent(id), url.searchParams);
    else if (!run) server.problem(response, 404, "not_found");
    else if (rest === undefined) server.json(response, run.now());
    else if (rest === "events") this.page(server, response, run, url.searchParams);
    else server.problem(response, 404, "not_found");
    return true;
  }

  page(server, response, run, parameters) {
    const limit = Number(parameters.get("limit") ?? 1000);
    const [, born, , at] = parameters.get("after")?.split(".") ?? [];
    if (born && Number.parseInt(born, 16) !== run.birth) return server.problem(response, 409, "reset");
    return server.json(response, this.events(run, parameters, limit, at));
  }

  events(run, parameters, limit, at) {
    const failures = parameters.get("failures") === "1";
    const events = [];
    if (parameters.has("tail") && failures) {
      const last = run.events.findLastIndex(isFailure);
      return last < 0 ? { events, cursor: run.cursor(run.events.length) } : { events: [run.events[last]], cursor: run.cursor(last + 1) };
    }
    let n = Number(parameters.get("from") ?? 1) - 1;
    if (parameters.has("tail")) n = Math.max(0, run.events.length - Number(parameters.get("tail")));
    if (at) n = Number.parseInt(at, 16);
    while (n < run.events.length && events.length < limit) {
      n += 1;
      if (!failures || isFailure(run.events[n - 1])) events.push(run.events[n - 1]);
    }
    return { events, cursor: run.cursor(n), ...(n < run.events.length ? { next: run.cursor(n) } : {}) };
  }

  stream(server, request, response, id, parameters) {
    const cursor = parameters.get("after");
    this.opened.push({ id, after: cursor });
    if (!this.runs.has(id) && parameters.get("wait") !== "1") return server.problem(response, 404, "not_found");
    this.streams.add(response);
    if (this.storing === "all") return undefined;
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(this.storing === null ? ":\n\n:\n\n" : ":\n\n");
    let birth = null;
    let at = 0;
    const pump = () => {
      const run = this.runs.get(id);
      if (!run) return;
      this.waiting.delete(pump);
      run.wakers.add(pump);
      if (birth === null) {
        birth = run.birth;
        const [, born, , n] = cursor?.split(".") ?? [];
        if (cursor && Number.parseInt(born, 16) !== birth) response.write("event: reset\ndata: {}\n\n");
        else if (cursor) at = Number.parseInt(n, 16);
        else at = Math.max(0, run.events.length - Number(parameters.get("tail") ?? run.events.length));
      } else if (birth !== run.birth) {
        birth = run.birth;
        at = 0;
        response.write("event: reset\ndata: {}\n\n");
      }
      let out = "";
      for (; at < run.events.length; at += 1) out += `id: ${run.cursor(at + 1)}\ndata: ${JSON.stringify(run.events[at])}\n\n`;
      if (out !== "") response.write(out);
    };
    response.on("close", () => {
      this.streams.delete(response);
      this.waiting.delete(pump);
      this.runs.get(id)?.wakers.delete(pump);
    });
    this.waiting.add(pump);
    pump();
    if (this.storing === "head") this.runs.get(id)?.wakers.delete(pump);
    return undefined;
  }
}

