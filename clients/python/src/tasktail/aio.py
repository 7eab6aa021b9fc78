"""A worker for programs with asyncio.

async with tasktail.aio.task("42") as t:
    await t.line("Building...")
"""

import asyncio
import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Optional, Type, Union

from tasktail._delivery import Core, Delivery, Options, Time, WorkerOptions, end_of
from tasktail._local_log import End
from tasktail._websocket import dial
from tasktail._worker import _Waker, status_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Worker:
    """`tasktail.Worker` without a thread: delivery runs in the event loop. Must be created inside a running loop.

    `line` appends to the local log and returns; it only waits for the server if the local log is full and `overflow`
    is ``wait``. The arguments are those of `tasktail.Worker`.
    """

    def __init__(self, task: Union[str, int], **options: "Unpack[WorkerOptions]") -> None:
        self._core = Core(Options.of(task, **options))
        self.exit_code: Optional[int] = None
        """Exit code with which the context manager ends the task."""
        self._delivery: Optional[Delivery] = None
        self._uplink = self._core.start(dial)
        self._finished = asyncio.Event()
        waker = _Waker(self._uplink.wake, self._finished, self._core)
        self._core.log.on_change = waker.request
        self._job = asyncio.ensure_future(self._deliver())

    @property
    def task(self) -> str:
        """Id of the task."""
        return self._uplink.task

    @property
    def url(self) -> str:
        """Address of the task's page."""
        return f"{self._core.options.endpoint.url}/tasks/{self.task}"

    @property
    def delivery(self) -> Optional[Delivery]:
        """What became of the log; None before the end."""
        return self._delivery

    async def line(self, text: Union[str, bytes], stream: str = "stdout", timestamp: Time = None) -> None:
        """Appends a text, line by line, to ``stdout``, ``stderr`` or ``internal``."""
        if stream not in ("stdout", "stderr", "internal"):
            raise ValueError(f"stream is {stream!r}: it must be 'stdout', 'stderr' or 'internal'")
        for line in self._core.lines(text, stream, timestamp):
            while not self._core.log.append(line, wait=False):
                self._uplink.confirmed.clear()
                await self._until_confirmed()

    async def _until_confirmed(self) -> None:
        waiting = asyncio.ensure_future(self._uplink.confirmed.wait())
        try:
            await asyncio.wait({waiting, self._job}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    async def flush(self, timeout: float = 10.0) -> bool:
        """Waits until the server has confirmed every line so far. Returns False if it did not in time."""
        log = self._core.log
        last = log.last_seq

        async def confirmed() -> None:
            while log.confirmed.next_seq <= last and not self._job.done():
                self._uplink.confirmed.clear()
                await self._until_confirmed()

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(confirmed(), timeout)
        return log.confirmed.next_seq > last

    async def end(
        self, exit_code: Optional[int] = 0, *, signal: Optional[int] = None, aborted: bool = False
    ) -> Optional[Delivery]:
        """Ends the task, and waits until everything is delivered. A negative exit code is a signal."""
        return await self._finish(end_of(exit_code, signal, aborted))

    async def detach(self) -> Optional[Delivery]:
        """Stops without ending the task, which another worker can go on with."""
        return await self._finish(None)

    async def _finish(self, end: Optional[End]) -> Optional[Delivery]:
        self._core.finish(end)
        # Shielded, so that a cancelled caller leaves the delivery going on in its own time.
        await asyncio.shield(self._job)
        return self._delivery

    async def _deliver(self) -> None:
        try:
            await self._core.deliver(dial, self._finished)
        finally:
            self._delivery = self._core.close()

    async def __aenter__(self) -> "Worker":
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if error is None:
            await self.end(0 if self.exit_code is None else self.exit_code)
            return
        code, signal, aborted, text = status_of(error)
        if text:
            await self.line(text, "stderr")
        await self.end(code, signal=signal, aborted=aborted)


def task(task: Union[str, int], **options: "Unpack[WorkerOptions]") -> Worker:
    """Returns a worker for a task, to be used in an ``async with`` statement; see `Worker`."""
    return Worker(task, **options)
