// node-redis, as an application uses it: node_redis.mjs HOST:PORT 2|3 (the protocol).

import assert from "node:assert/strict";
import { createClient, WatchError } from "redis";
import { blockedClients, done, host, port, protocol, restartServer, until } from "./steps.mjs";

const KEY = "task:logs:node-redis";

async function connect() {
  const client = createClient({ socket: { host, port: Number(port) }, RESP: protocol });
  // Lost connections are told here; what matters is that the commands get their answers.
  client.on("error", () => {});
  return client.connect();
}

// A message is an object without a prototype.
const plain = (value) => JSON.parse(JSON.stringify(value));
const messagesOf = (answer) => plain(Array.isArray(answer) ? answer[0].messages : Object.values(answer)[0]);

async function adds(client) {
  const ids = [];
  const TRIM = { strategy: "MAXLEN", strategyModifier: "~", threshold: 100 };
  for (let n = 0; n < 250; n++) ids.push(await client.xAdd(KEY, "*", { line: `line ${n}` }, { TRIM }));
  const length = await client.xLen(KEY);
  assert.ok(length >= 100 && length < 200, `${length} entries`);
  const last = await client.xRevRange(KEY, "+", "-", { COUNT: 1 });
  assert.deepEqual(plain(last), [{ id: ids.at(-1), message: { line: "line 249" } }]);
  assert.equal((await client.xInfoStream(KEY))["entries-added"], 250);
  const keys = [];
  for await (const page of client.scanIterator({ MATCH: "task:logs:*" })) keys.push(...page);
  assert.deepEqual(keys, [KEY]);
  await assert.rejects(client.xAdd(KEY, "0-1", { f: "v" }), /equal or smaller than the target stream top item/);
}

async function blocks(client, reader) {
  const read = reader.xRead({ key: KEY, id: "$" }, { BLOCK: 0 });
  await until("a blocked client", async () => blockedClients(await client.info("clients")) === 1);
  const id = await client.xAdd(KEY, "*", { line: "woken" });
  assert.deepEqual(messagesOf(await read), [{ id, message: { line: "woken" } }]);
  const begun = performance.now();
  assert.equal(await reader.xRead({ key: KEY, id: "$" }, { BLOCK: 80 }), null);
  assert.ok(performance.now() - begun >= 75);
}

async function trimsAndExpires(client) {
  const length = await client.xLen(KEY);
  assert.equal(await client.xTrim(KEY, "MAXLEN", 10), length - 10);
  assert.equal(await client.xLen(KEY), 10);
  assert.equal(await client.expire(KEY, 3600), 1);
  assert.ok((await client.ttl(KEY)) > 3590);
  await client.xAdd("brief", "*", { f: "v" });
  assert.equal(await client.pExpire("brief", 60), 1);
  await until("the end of a key", async () => (await client.exists("brief")) === 0);
  assert.deepEqual(plain(await client.xRange("brief", "-", "+")), []);
}

async function pipelines(client) {
  // Commands of one tick go out as one pipeline.
  const [first, second, length] = await Promise.all([
    client.xAdd("piped", "*", { n: "1" }),
    client.xAdd("piped", "*", { n: "2" }),
    client.xLen("piped"),
  ]);
  assert.equal(length, 2);
  const [third, range, removed] = await client
    .multi()
    .xAdd("piped", "*", { n: "3" })
    .xRange("piped", "-", "+")
    .del("piped")
    .exec();
  assert.deepEqual(range.map((entry) => entry.id), [first, second, third]);
  assert.equal(removed, 1);
}

async function watches(client, other) {
  await client.watch(KEY);
  await other.xAdd(KEY, "*", { line: "somebody else" });
  await assert.rejects(client.multi().xAdd(KEY, "*", { line: "never" }).exec(), WatchError);
  const [last] = await client.xRevRange(KEY, "+", "-", { COUNT: 1 });
  assert.equal(last.message.line, "somebody else");
}

async function groups(client) {
  assert.equal(await client.xGroupCreate("work", "g", "0", { MKSTREAM: true }), "OK");
  const id = await client.xAdd("work", "*", { n: "1" });
  const given = await client.xReadGroup("g", "a", { key: "work", id: ">" });
  assert.deepEqual(messagesOf(given), [{ id, message: { n: "1" } }]);
  assert.equal((await client.xPending("work", "g")).pending, 1);
  assert.equal(await client.xAck("work", "g", id), 1);
  assert.equal((await client.xPending("work", "g")).pending, 0);
}

async function reconnects(client) {
  const before = plain(await client.xRange(KEY, "-", "+"));
  await restartServer();
  // What is asked while the connection is down waits for the next one; only a command whose
  // connection broke under it is refused, and asked again by the application.
  const range = () => client.xRange(KEY, "-", "+");
  assert.deepEqual(plain(await range().catch(range)), before);
  assert.ok((await client.ttl(KEY)) > 3500);
  const id = await client.xAdd(KEY, "*", { line: "after" });
  assert.equal((await client.xRevRange(KEY, "+", "-", { COUNT: 1 }))[0].id, id);
}

const [client, reader] = await Promise.all([connect(), connect()]);
assert.equal(await client.ping(), "PONG");
await adds(client);
await blocks(client, reader);
await trimsAndExpires(client);
await pipelines(client);
await watches(client, reader);
await groups(client);
await reconnects(client);
assert.equal(await client.del([KEY, "work", "nothing"]), 2);
done();
