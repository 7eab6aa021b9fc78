// A server that asks for tokens, and what a test does at its door.

import { execFile } from "node:child_process";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { RealServer } from "./harness.js";

const run = promisify(execFile);
export const JWT_SECRET = "a secret of the embedding application, long enough";

/** A server with an administrator's token; what it traces is kept. */
export class GuardedServer extends RealServer {
  static async start(binary, flags = []) {
    const server = new GuardedServer();
    server.binary = binary;
    server.data = await mkdtemp(join(tmpdir(), "tasktail-door-"));
    await writeFile(join(server.data, "jwt.key"), `${JWT_SECRET}\n`, { mode: 0o600 });
    server.flags = ["--share-jwt-key-file", join(server.data, "jwt.key"), ...flags];
    server.token = await server.tokenFor("root", "admin");
    await server.spawn("127.0.0.1:0");
    return server;
  }

  get store() {
    return join(this.data, "store");
  }

  /** Makes a token with the command that an operator uses. */
  async tokenFor(name, scope, ...more) {
    const arguments_ = ["token", "create", "--data", this.store, "--name", name, "--scope", scope, ...more];
    const { stdout } = await run(this.binary, arguments_);
    return stdout.trim();
  }

  async revoke(name) {
    await run(this.binary, ["token", "revoke", "--data", this.store, name]);
  }

  async ask(path, { token = this.token, ...options } = {}) {
    const headers = { ...(token ? { authorization: `Bearer ${token}` } : {}), ...options.headers };
    return fetch(`${this.url}${path}`, { redirect: "manual", ...options, headers });
  }

  async share(id, expires_in = "1h") {
    const headers = { "content-type": "application/json" };
    const response = await this.ask(`/api/v1/tasks/${id}/share`, { method: "POST", headers, body: JSON.stringify({ expires_in }) });
    if (!response.ok) throw new Error(`no share: ${response.status} ${await response.text()}`);
    return (await response.json()).url;
  }
}

/** Another site: a page on a port of its own, which runs what a test gives it. */
export async function otherSite(host = "localhost") {
  const http = createServer((request, response) => {
    response.setHeader("content-type", "text/html");
    response.end("<!doctype html><title>another site</title><p>another site</p>");
  });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  return { url: `http://${host}:${http.address().port}`, stop: () => new Promise((resolve) => { http.close(resolve); http.closeAllConnections(); }) };
}

const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A JSON Web Token as another system makes it. */
export function jwt(claims, { header = { alg: "HS256", typ: "JWT" }, secret = JWT_SECRET } = {}) {
  const message = `${part(header)}.${part(claims)}`;
  return `${message}.${createHmac("sha256", secret).update(message).digest("base64url")}`;
}
