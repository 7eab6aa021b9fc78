"""redis-py with asyncio, as an application uses it: redis_py_async.py HOST:PORT 2|3 (the protocol).

Says `restart` when the server is to be killed and started again, and `done` at the end.
"""

import asyncio
import sys
import time

import redis
import redis.asyncio

HOST, PORT = sys.argv[1].rsplit(":", 1)
PROTOCOL = int(sys.argv[2])
KEY = "task:logs:asyncio"


def connect():
    return redis.asyncio.Redis(host=HOST, port=int(PORT), protocol=PROTOCOL, decode_responses=True)


async def until(what, holds):
    async with asyncio.timeout(20):
        while not await holds():
            await asyncio.sleep(0.01)


def entries(answer):
    """The entries of the only stream of an answer, whose shape depends on the protocol."""
    if not answer:
        return []
    if isinstance(answer, dict):
        (pages,) = answer.values()
        return [entry for page in pages for entry in page]
    ((_, page),) = answer
    return page


async def restart_server():
    print("restart", flush=True)
    assert await asyncio.to_thread(sys.stdin.readline) == "restarted\n"


async def adds(r):
    # Many at once, each over a connection of the pool: the order is the server's.
    ids = []
    for _ in range(5):
        ids += await asyncio.gather(*(r.xadd(KEY, {"n": n}, maxlen=10000, approximate=True) for n in range(20)))
    assert len(set(ids)) == 100
    assert [id for id, _ in await r.xrange(KEY)] == sorted(ids, key=lambda id: tuple(map(int, id.split("-"))))
    assert await r.xlen(KEY) == 100


async def blocked(r, count):
    return (await r.info("clients"))["blocked_clients"] == count


async def blocks(r):
    readers = [asyncio.create_task(r.xread({KEY: "$", "other": "$"}, block=0)) for _ in range(3)]
    await until("three blocked clients", lambda: blocked(r, 3))
    id = await r.xadd(KEY, {"line": "woken"})
    async with asyncio.timeout(20):
        for answer in await asyncio.gather(*readers):
            assert entries(answer) == [(id, {"line": "woken"})], answer
    begun = time.monotonic()
    assert not await r.xread({KEY: "$"}, block=80)
    assert time.monotonic() - begun >= 0.075
    # One that is cancelled leaves nobody blocked behind.
    reader = asyncio.create_task(r.xread({KEY: "$"}, block=0))
    await until("a blocked client", lambda: blocked(r, 1))
    reader.cancel()
    await until("no blocked client", lambda: blocked(r, 0))


async def trims_and_expires(r):
    assert await r.xtrim(KEY, maxlen=10, approximate=False) == 91
    assert await r.xlen(KEY) == 10
    assert await r.expire(KEY, 3600) and 3590 <= await r.ttl(KEY) <= 3600
    await r.xadd("brief", {"f": "v"})
    assert await r.pexpire("brief", 60)

    async def gone():
        return not await r.exists("brief")

    await until("the end of a key", gone)
    assert await r.xrange("brief") == []


async def pipelines(r):
    for transaction in (True, False):
        async with r.pipeline(transaction=transaction) as pipe:
            for n in range(3):
                pipe.xadd("piped", {"n": n})
            *ids, length, removed = await pipe.xlen("piped").delete("piped").execute()
            assert length == 3 and removed == 1 and len(set(ids)) == 3


async def watches(r):
    async with r.pipeline() as pipe:
        await pipe.watch(KEY)
        await r.xadd(KEY, {"line": "somebody else"})
        pipe.multi()
        pipe.xadd(KEY, {"line": "never"})
        try:
            await pipe.execute()
            raise AssertionError("the conflict was not seen")
        except redis.WatchError:
            pass
    assert (await r.xrevrange(KEY, count=1))[0][1] == {"line": "somebody else"}


async def groups(r):
    assert await r.xgroup_create("work", "g", id="$", mkstream=True)
    reader = asyncio.create_task(r.xreadgroup("g", "a", {"work": ">"}, block=0))
    await until("a blocked client", lambda: blocked(r, 1))
    id = await r.xadd("work", {"n": 1})
    assert entries(await reader) == [(id, {"n": "1"})]
    assert await r.xack("work", "g", id) == 1
    assert (await r.xpending("work", "g"))["pending"] == 0


async def reconnects(r):
    before = await r.xrange(KEY)
    await restart_server()
    assert await r.xrange(KEY) == before
    after = await r.xadd(KEY, {"line": "after"})
    assert await r.xrange(KEY) == before + [(after, {"line": "after"})]
    assert 3500 < await r.ttl(KEY) <= 3600


async def main():
    async with connect() as r:
        assert await r.ping()
        await adds(r)
        await blocks(r)
        await trims_and_expires(r)
        await pipelines(r)
        await watches(r)
        await groups(r)
        await reconnects(r)
        assert await r.delete(KEY, "work") == 2
    print("done", flush=True)


asyncio.run(main())
