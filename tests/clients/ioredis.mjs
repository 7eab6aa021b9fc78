// ioredis, as an application uses it: ioredis.mjs HOST:PORT 2|3 (the protocol).

import assert from "node:assert/strict";
import Redis from "ioredis";
import { blockedClients, done, host, port, protocol, restartServer, until } from "./steps.mjs";

const KEY = "task:logs:ioredis";

function connect() {
  const client = new Redis({ host, port: Number(port), protocol });
  // Lost connections are told here; what matters is that the commands get their answers.
  client.on("error", () => {});
  return client;
}

// An entry's fields and a read's streams are maps or pairs, by the protocol and its mapping.
const pairs = (value) => (Array.isArray(value) ? value : Object.entries(value).flat());
const entriesOf = (answer) => (Array.isArray(answer) ? answer[0][1] : Object.values(answer)[0]);

async function adds(redis) {
  const ids = [];
  for (let n = 0; n < 250; n++) ids.push(await redis.xadd(KEY, "MAXLEN", "~", 100, "*", "line", `line ${n}`));
  const length = await redis.xlen(KEY);
  assert.ok(length >= 100 && length < 200, `${length} entries`);
  assert.deepEqual(await redis.xrevrange(KEY, "+", "-", "COUNT", 1), [[ids.at(-1), ["line", "line 249"]]]);
  assert.equal((await redis.xrange(KEY, ids.at(-2), "+")).length, 2);
  const info = await redis.xinfo("STREAM", KEY);
  const facts = pairs(info);
  assert.equal(facts[facts.indexOf("entries-added") + 1], 250);
  await assert.rejects(redis.xadd(KEY, "0-1", "f", "v"), /equal or smaller than the target stream top item/);
}

async function blocks(redis, reader) {
  const read = reader.xread("BLOCK", 0, "STREAMS", KEY, "$");
  await until("a blocked client", async () => blockedClients(await redis.info("clients")) === 1);
  const id = await redis.xadd(KEY, "*", "line", "woken");
  assert.deepEqual(entriesOf(await read), [[id, ["line", "woken"]]]);
  const begun = performance.now();
  assert.equal(await reader.xread("BLOCK", 80, "STREAMS", KEY, "$"), null);
  assert.ok(performance.now() - begun >= 75);
}

async function trimsAndExpires(redis) {
  const length = await redis.xlen(KEY);
  assert.equal(await redis.xtrim(KEY, "MAXLEN", 10), length - 10);
  assert.equal(await redis.xlen(KEY), 10);
  assert.equal(await redis.expire(KEY, 3600), 1);
  assert.ok((await redis.ttl(KEY)) > 3590);
  await redis.xadd("brief", "*", "f", "v");
  assert.equal(await redis.pexpire("brief", 60), 1);
  await until("the end of a key", async () => (await redis.exists("brief")) === 0);
  assert.equal(await redis.ttl("brief"), -2);
}

async function pipelines(redis) {
  for (const batch of [redis.pipeline(), redis.multi()]) {
    const answers = await batch.xadd("piped", "*", "n", 1).xadd("piped", "0-1", "n", 2).xlen("piped").del("piped").exec();
    assert.equal(answers.length, 4);
    assert.match(answers[1][0].message, /equal or smaller/);
    assert.deepEqual(answers.slice(2), [[null, 1], [null, 1]]);
  }
}

async function watches(redis, other) {
  await redis.watch(KEY);
  await other.xadd(KEY, "*", "line", "somebody else");
  assert.equal(await redis.multi().xadd(KEY, "*", "line", "never").exec(), null);
  assert.deepEqual((await redis.xrevrange(KEY, "+", "-", "COUNT", 1))[0][1], ["line", "somebody else"]);
}

async function groups(redis) {
  assert.equal(await redis.xgroup("CREATE", "work", "g", "0", "MKSTREAM"), "OK");
  const id = await redis.xadd("work", "*", "n", 1);
  assert.deepEqual(entriesOf(await redis.xreadgroup("GROUP", "g", "a", "STREAMS", "work", ">")), [[id, ["n", "1"]]]);
  assert.equal((await redis.xpending("work", "g"))[0], 1);
  assert.equal(await redis.xack("work", "g", id), 1);
  assert.equal((await redis.xpending("work", "g"))[0], 0);
}

async function reconnects(redis, reader) {
  const before = await redis.xrange(KEY, "-", "+");
  // A read that waits when the server dies is sent again by the client, and gets its entry then.
  const read = reader.xread("BLOCK", 0, "STREAMS", KEY, before.at(-1)[0]);
  await until("a blocked client", async () => blockedClients(await redis.info("clients")) === 1);
  await restartServer();
  assert.deepEqual(await redis.xrange(KEY, "-", "+"), before);
  assert.ok((await redis.ttl(KEY)) > 3500);
  await until("a blocked client", async () => blockedClients(await redis.info("clients")) === 1);
  const id = await redis.xadd(KEY, "*", "line", "after");
  assert.deepEqual(entriesOf(await read), [[id, ["line", "after"]]]);
}

const [redis, reader] = [connect(), connect()];
assert.equal(await redis.ping(), "PONG");
await adds(redis);
await blocks(redis, reader);
await trimsAndExpires(redis);
await pipelines(redis);
await watches(redis, reader);
await groups(redis);
await reconnects(redis, reader);
assert.equal(await redis.del(KEY, "work", "nothing"), 2);
done();
