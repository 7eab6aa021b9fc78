import asyncio

import pytest
from conftest import details, lines_of

from tasktail import aio


def test_a_task_is_streamed_and_complete(tasktail_url):
    async def main():
        async with aio.task("aio") as task:
            for n in range(5000):
                await task.line(f"line {n}")
            assert await task.flush()
            await task.line("last", stream="stderr")
        return task.delivery

    delivery = asyncio.run(main())
    assert delivery == ("aio", True, 5001, 0, 0, None)
    assert lines_of(tasktail_url, "aio")[-2:] == [("stdout", "line 4999"), ("stderr", "last")]
    assert details(tasktail_url, "aio")["integrity"]["state"] == "complete"


def test_many_tasks_share_one_loop(tasktail_url):
    async def stream(name):
        async with aio.task(name) as task:
            for n in range(100):
                await task.line(f"{n}")
                await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(stream(f"many-{n}") for n in range(20)))

    asyncio.run(main())
    for n in range(20):
        assert details(tasktail_url, f"many-{n}")["integrity"]["state"] == "complete"


def test_an_exception_and_a_cancellation_end_the_task(tasktail_url):
    async def fail():
        async with aio.task("aio-fails"):
            raise ValueError("bad")

    async def wait(started):
        async with aio.task("aio-cancelled") as task:
            await task.line("waits")
            started.set()
            await asyncio.Event().wait()

    async def main():
        with pytest.raises(ValueError, match="bad"):
            await fail()
        started = asyncio.Event()
        job = asyncio.ensure_future(wait(started))
        await started.wait()
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    asyncio.run(main())
    assert details(tasktail_url, "aio-fails")["exit_code"] == 1
    assert lines_of(tasktail_url, "aio-fails")[-1] == ("stderr", "ValueError: bad")
    assert details(tasktail_url, "aio-cancelled")["status"] == "aborted"


def test_a_killed_server_loses_and_repeats_nothing(lasting_server):
    lasting_server.start()

    async def main():
        async with aio.task("aio-killed", url=lasting_server.url, end_timeout=30) as task:
            for n in range(3000):
                await task.line(f"line {n}")
                if n == 1500:
                    await task.flush()
                    lasting_server.kill()
                    lasting_server.start()
        return task.delivery

    assert asyncio.run(main()).complete
    assert [text for _, text in lines_of(lasting_server.url, "aio-killed")] == [f"line {n}" for n in range(3000)]


def test_a_full_local_log_waits_without_blocking_the_loop(lasting_server):
    async def main():
        options = {"url": lasting_server.url, "overflow": "wait", "spool_bytes_max": 1024**2, "end_timeout": 30}
        async with aio.task("aio-full", **options) as task:

            async def write():
                for n in range(2000):
                    await task.line(f"{n} " + "x" * 1000)

            writer = asyncio.ensure_future(write())
            await asyncio.wait({writer}, timeout=0.5)
            assert not writer.done()
            lasting_server.start()
            await writer
        return task.delivery

    delivery = asyncio.run(main())
    assert (delivery.complete, delivery.lines, delivery.skipped_lines) == (True, 2000, 0)
