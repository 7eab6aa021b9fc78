// Real proxies before a server, configured with the blocks of the guide.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TIMEOUT_MS } from "./harness.js";

const GUIDE = new URL("../../src/guide/proxies.md", import.meta.url);
const UPSTREAM = /127\.0\.0\.1:7117/g;
const NAMES = /logs\.example|example\.org/g;

/** Returns the block of the guide with this title, such as `nginx` or `caddy prefix`. */
export async function block(title) {
  const guide = await readFile(GUIDE, "utf8");
  const found = new RegExp(`^\`\`\`${title}\\n([^]*?)^\`\`\`$`, "m").exec(guide);
  if (!found) throw new Error(`the guide has no block ${title}`);
  return found[1];
}

/** Returns a port of this machine that is free. */
async function freePort() {
  const probe = createServer();
  await new Promise((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

const find = (name) => [`/usr/sbin/${name}`, `/usr/bin/${name}`].find(existsSync);
const modules = ["mpm_event", "authz_core", "alias", "proxy", "proxy_http"];

// How each proxy is started in the foreground with a block, which is changed in nothing but its addresses.
const KINDS = {
  nginx: {
    program: "nginx",
    configuration: (text, port, folder) => `
      worker_processes 1; daemon off; pid ${folder}/pid; error_log ${folder}/error.log;
      events {}
      http {
        access_log off;
        client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
        uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
        ${text.replace("listen 80;", `listen 127.0.0.1:${port};`).replace(NAMES, "localhost")}
      }`,
    arguments: (file, folder) => ["-c", file, "-p", folder, "-e", join(folder, "error.log")],
  },
  caddy: {
    program: "caddy",
    configuration: (text, port) => `{\n  admin off\n  auto_https off\n}\n${text.replace(NAMES, `http://localhost:${port}, http://127.0.0.1:${port}`)}`,
    arguments: (file) => ["run", "--config", file, "--adapter", "caddyfile"],
  },
  haproxy: {
    program: "haproxy",
    configuration: (text, port) => text.replace("bind :80", `bind 127.0.0.1:${port}`),
    arguments: (file) => ["-db", "-f", file],
  },
  apache: {
    program: "apache2",
    configuration: (text, port, folder) => `
ServerRoot ${folder}
ServerName localhost
PidFile ${folder}/pid
ErrorLog ${folder}/error.log
Listen 127.0.0.1:${port}
${modules.map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`).join("\n")}
${text.replace("*:80", `127.0.0.1:${port}`).replace(NAMES, "localhost")}`,
    arguments: (file) => ["-f", file, "-DFOREGROUND"],
  },
};

/** Reports whether a proxy is installed. */
export const isInstalled = (kind) => find(KINDS[kind].program) !== undefined;

/** Returns a free port and the address that a proxy on it will have. */
export async function reserve(path = "") {
  const port = await freePort();
  return { port, url: `http://localhost:${port}${path}` };
}

/** Starts a proxy of this kind on a port, with a configuration in which the guide's addresses stand. */
export async function startProxy(kind, text, port, upstream) {
  const { program, configuration, arguments: args } = KINDS[kind];
  const folder = await mkdtemp(join(tmpdir(), `tasktail-${kind}-`));
  const file = join(folder, "configuration");
  await writeFile(file, configuration(text.replace(UPSTREAM, upstream), port, folder));
  const env = { ...process.env, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder };
  const child = spawn(find(program), args(file, folder), { stdio: ["ignore", "pipe", "pipe"], env });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (part) => (said += part));
  const ended = once(child, "exit");
  const deadline = Date.now() + TIMEOUT_MS;
  while (!(await accepts(port))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      child.kill();
      throw new Error(`${kind} does not start: ${said}${await readFile(join(folder, "error.log"), "utf8").catch(() => "")}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return {
    async stop() {
      const workers = await childrenOf(child.pid);
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), 5000);
      await ended;
      clearTimeout(late);
      // Under load a worker of Apache can miss the end of its parent. It would hold the port and the pipes.
      for (const worker of workers) killIfRunning(worker, program);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Returns the ids of a process' children. */
async function childrenOf(pid) {
  const ids = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  return ids.split(" ").filter(Boolean).map(Number);
}

/** Kills a process that still runs this program. */
function killIfRunning(pid, program) {
  try {
    if (readFileSync(`/proc/${pid}/comm`, "utf8").trim() === program) process.kill(pid, "SIGKILL");
  } catch (error) {
    // It has ended.
    if (!["ENOENT", "ESRCH"].includes(error.code)) throw error;
  }
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
