"""redis-py, as an application uses it: redis_py.py HOST:PORT 2|3 (the protocol).

Says a line for each thing that went well, `restart` when the server is to be killed and started
again, and `done` at the end.
"""

import sys
import threading
import time

import redis

HOST, PORT = sys.argv[1].rsplit(":", 1)
PROTOCOL = int(sys.argv[2])
KEY = "task:logs:redis-py"


def connect():
    return redis.Redis(host=HOST, port=int(PORT), protocol=PROTOCOL, decode_responses=True)


def until(what, holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.01)


def entries(answer):
    """The entries of the only stream of an answer, whose shape depends on the protocol."""
    if not answer:
        return []
    if isinstance(answer, dict):
        (pages,) = answer.values()
        return [entry for page in pages for entry in page]
    ((_, page),) = answer
    return page


def restart_server():
    print("restart", flush=True)
    assert sys.stdin.readline() == "restarted\n"


def adds(r):
    ids = [r.xadd(KEY, {"line": f"line {n}"}, maxlen=100, approximate=True) for n in range(350)]
    assert ids == sorted(ids, key=lambda id: tuple(map(int, id.split("-"))))
    assert 100 <= r.xlen(KEY) < 200, r.xlen(KEY)
    assert r.xrevrange(KEY, count=1) == [(ids[-1], {"line": "line 349"})]
    assert r.xrange(KEY, min=ids[-2])[0] == (ids[-2], {"line": "line 348"})
    assert r.xinfo_stream(KEY)["entries-added"] == 350
    assert r.xinfo_stream(KEY)["last-generated-id"] == ids[-1]
    assert r.type(KEY) == "stream" and KEY in list(r.scan_iter("task:logs:*"))


def blocks(r):
    got = []
    reader = threading.Thread(target=lambda: got.append(connect().xread({KEY: "$"}, block=0)), daemon=True)
    reader.start()
    until("a blocked client", lambda: r.info("clients")["blocked_clients"] == 1)
    id = r.xadd(KEY, {"line": "woken"})
    reader.join(20)
    assert entries(got[0]) == [(id, {"line": "woken"})], got
    begun = time.monotonic()
    assert not r.xread({KEY: "$"}, block=80)
    assert time.monotonic() - begun >= 0.075


def trims(r):
    length = r.xlen(KEY)
    assert r.xtrim(KEY, maxlen=10, approximate=False) == length - 10
    assert r.xlen(KEY) == 10
    first, second = (id for id, _ in r.xrange(KEY, count=2))
    assert r.xtrim(KEY, minid=second, approximate=False) == 1
    assert r.xdel(KEY, first, second) == 1
    assert r.xlen(KEY) == 8


def expires(r):
    assert r.ttl(KEY) == -1 and r.ttl("nothing") == -2
    assert r.expire(KEY, 3600) and 3590 <= r.ttl(KEY) <= 3600
    assert r.persist(KEY) and r.ttl(KEY) == -1
    r.xadd("brief", {"f": "v"})
    assert r.pexpire("brief", 60)
    until("the end of a key", lambda: not r.exists("brief"))
    assert r.xrange("brief") == [] and r.xlen("brief") == 0


def pipelines(r):
    for transaction in (True, False):
        pipe = r.pipeline(transaction=transaction)
        for n in range(3):
            pipe.xadd("piped", {"n": n}, maxlen=10000, approximate=True)
        pipe.xlen("piped").expire("piped", 60).xadd("piped", {"f": "v"}, id="0-1")
        *ids, length, expires, refused = pipe.execute(raise_on_error=False)
        assert length == 3 and expires is True and isinstance(refused, redis.ResponseError), (length, refused)
        assert "equal or smaller" in str(refused), refused
        assert [id for id, _ in r.xrange("piped")] == ids
        assert r.delete("piped") == 1


def watches(r):
    with r.pipeline() as pipe:
        pipe.watch(KEY)
        connect().xadd(KEY, {"line": "somebody else"})
        pipe.multi()
        pipe.xadd(KEY, {"line": "never"})
        try:
            pipe.execute()
            raise AssertionError("the conflict was not seen")
        except redis.WatchError:
            pass
    assert r.xrevrange(KEY, count=1)[0][1] == {"line": "somebody else"}
    assert r.transaction(lambda pipe: pipe.multi() or pipe.xadd(KEY, {"line": "alone"}), KEY)
    assert r.xrevrange(KEY, count=1)[0][1] == {"line": "alone"}


def groups(r):
    assert r.xgroup_create("work", "g", id="0", mkstream=True)
    ids = [r.xadd("work", {"n": n}) for n in range(3)]
    assert entries(r.xreadgroup("g", "a", {"work": ">"}, count=2)) == [(ids[0], {"n": "0"}), (ids[1], {"n": "1"})]
    assert r.xpending("work", "g")["pending"] == 2
    assert r.xack("work", "g", ids[0]) == 1
    assert entries(r.xreadgroup("g", "b", {"work": ">"}, block=1000)) == [(ids[2], {"n": "2"})]
    assert not r.xreadgroup("g", "b", {"work": ">"}, block=20)
    assert [p["consumer"] for p in r.xpending_range("work", "g", "-", "+", 10)] == ["a", "b"]
    (claimed,) = r.xclaim("work", "g", "b", 0, [ids[1]])
    assert claimed == (ids[1], {"n": "1"})
    assert r.xinfo_groups("work")[0]["pending"] == 2
    assert r.xack("work", "g", ids[1]) == 1
    return ids[2]


def reconnects(r, pending):
    before = r.xrange(KEY)
    r.expire(KEY, 3600)
    restart_server()
    assert r.xrange(KEY) == before
    assert 3500 < r.ttl(KEY) <= 3600
    after = r.xadd(KEY, {"line": "after"})
    assert r.xrange(KEY) == before + [(after, {"line": "after"})]
    assert [p["message_id"] for p in r.xpending_range("work", "g", "-", "+", 10)] == [pending]


def main():
    r = connect()
    assert r.ping() and r.client_setname("application") and r.client_getname() == "application"
    adds(r)
    blocks(r)
    trims(r)
    expires(r)
    pipelines(r)
    watches(r)
    pending = groups(r)
    reconnects(r, pending)
    assert r.delete(KEY, "work", "nothing") == 2 and not r.exists(KEY)
    print("done", flush=True)


main()
