/** Options of a server. */
export interface ServerOptions {
  /** Also serve Redis clients; `true` if left out. */
  redis?: boolean;
  /** More arguments of `tasktail serve`, such as `["--worker-grace", "1s"]`. */
  args?: string[];
  /** Environment variables of the server. */
  env?: Record<string, string>;
}

/** A task as `GET /api/v1/tasks/{id}` returns it; the reference lists all fields. */
export interface Task {
  id: string;
  status: "running" | "completed" | "aborted" | "lost";
  exit_code: number | null;
  lines: number;
  labels: Record<string, string>;
  [field: string]: unknown;
}

/** A running server with a temporary data folder. It also ends with this process. */
export interface Server extends AsyncDisposable {
  /** Address of the pages and of HTTP. */
  readonly httpUrl: string;
  /** Address for Redis clients. */
  readonly redisUrl: string;
  /** Variables that make `tasktail` and its clients in child processes use this server. */
  readonly env: { TASKTAIL_URL: string };
  /** Returns the whole log of a task as text. */
  log(task: string): Promise<string>;
  /** Returns the details of a task. */
  task(task: string): Promise<Task>;
  /** Appends lines to a task. */
  append(task: string, text: string): Promise<{ appended: number; first_line: number; last_line: number; last_id: string }>;
  /** Stops the server and deletes its data. */
  stop(): Promise<void>;
}

/** Starts a server, and returns when it accepts connections. */
export function startServer(options?: ServerOptions): Promise<Server>;

/** Returns the path of the tasktail program: `TASKTAIL_BIN`, the package of this platform, or the one on PATH. */
export function findBinary(): string;
