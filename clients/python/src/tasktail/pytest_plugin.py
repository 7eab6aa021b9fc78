"""Fixtures for pytest: a server for each test process.

    def test_build_log(tasktail_redis):
        tasktail_redis.xadd("task:logs:42", {"line": "Building..."})
        assert tasktail_redis.xlen("task:logs:42") == 1

It starts with the first test that needs it, in about 10 ms; with pytest-xdist every worker has its own. It needs no
Redis, no container and no cleaning up, and it ends with the test process even if that is killed.
"""

from typing import TYPE_CHECKING, Any, Iterator

import pytest

if TYPE_CHECKING:
    import redis

    from tasktail import Server


@pytest.fixture(scope="session")
def tasktail_server() -> "Iterator[Server]":
    """The server of this test process, a `tasktail.Server`."""
    # Not at the top: pytest loads this plugin for every project, and most tests need no server.
    from tasktail import Server

    with Server() as server:
        yield server


@pytest.fixture
def tasktail_url(tasktail_server: "Server", monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of the server; it is also in ``TASKTAIL_URL``, so that workers and commands use it."""
    monkeypatch.setenv("TASKTAIL_URL", tasktail_server.http_url)
    return tasktail_server.http_url


@pytest.fixture
def tasktail_redis(tasktail_server: "Server") -> "Iterator[redis.Redis]":
    """A client of the package `redis` on the server, which holds no key, task or run at the start of the test.

    The server has the commands on streams, strings, hashes and lists, with expiry, MULTI and WATCH, in the databases
    0 to 15. It has no sets, no pub/sub and no Lua: start a Valkey beside it for them.
    """
    redis: Any = pytest.importorskip("redis", reason="the fixture tasktail_redis needs the package `redis`")
    # Also of the tasks that have ended, which are not keys any more and accept no entry.
    tasktail_server.clear()
    with redis.Redis.from_url(tasktail_server.redis_url, decode_responses=True) as client:
        yield client
