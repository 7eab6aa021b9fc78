"""A worker for programs with threads."""

import asyncio
import atexit
import contextlib
import os
import threading
import time
import traceback
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Callable, List, Optional, Type, Union

from tasktail._delivery import Core, Delivery, Options, Time, WorkerOptions, end_of
from tasktail._local_log import End
from tasktail._uplink import CONNECT_TIMEOUT
from tasktail._websocket import dial_blocking

if TYPE_CHECKING:
    from typing_extensions import Unpack

STOP_TIMEOUT = 5.0
"""Seconds to wait for the thread of a worker that has given up."""
SIGINT = 2

_live: "weakref.WeakSet[Worker]" = weakref.WeakSet()


class Worker:
    """Sends the lines of one task to a server, from any thread, without ever blocking or failing because of it.

    Lines go to a local log first, and a thread sends them from there. A lost connection is resumed, and neither
    loses nor repeats a line. Used as a context manager, it ends the task: with exit code 0, or `exit_code` if that was
    set, or after an exception with its traceback and exit code 1.

        with tasktail.Worker("42") as t:
            t.line("Building...")

    Args:
        task: id of the task. If a task of this id has ended, the log is that of ``ID.2``, ``ID.3`` and so on.
        url: the server; by default ``TASKTAIL_URL``, or the server on this machine.
        token: access token; by default ``TASKTAIL_TOKEN``.
        ca_file: certificate authority of the server; by default ``TASKTAIL_CA_FILE``.
        command: command of the task, for display.
        labels: labels of the task.
        masks: secrets that are replaced by ``***``.
        spool: folder that keeps unconfirmed lines when the process is killed, for `tasktail.send_unsent`.
        spool_bytes_max: limit of the local log, by default 4 GiB or a quarter of the free disk space.
        overflow: beyond the limit, ``skip`` counts lines that have no space, and ``wait`` blocks `line`.
        end_timeout: seconds without progress after which the wait at the end is given up, by default 10, and 2 if the
            server was never reached; 6 times as many while it is connected.

    Raises:
        ValueError: the id, the URL or an option is invalid.
    """

    def __init__(self, task: Union[str, int], **options: "Unpack[WorkerOptions]") -> None:
        self._core = Core(Options.of(task, **options))
        self.exit_code: Optional[int] = None
        """Exit code with which the context manager ends the task."""
        self._run(self._core)

    def _run(self, core: Core) -> None:
        self._delivery: Optional[Delivery] = None
        self._done = threading.Event()
        self._gives_up: Optional[Callable[[], None]] = None
        self._given_up = False
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._main, name=f"tasktail-{core.options.task}", daemon=True)
        self._thread.start()
        _live.add(self)

    @classmethod
    def _of_core(cls, core: Core) -> "Worker":
        worker = cls.__new__(cls)
        worker._core, worker.exit_code = core, None
        worker._run(core)
        return worker

    @property
    def task(self) -> str:
        """Id of the task."""
        uplink = self._core.uplink
        return uplink.task if uplink else self._core.options.task

    @property
    def url(self) -> str:
        """Address of the task's page."""
        return f"{self._core.options.endpoint.url}/tasks/{self.task}"

    @property
    def delivery(self) -> Optional[Delivery]:
        """What became of the log; None before the end."""
        return self._delivery

    def line(self, text: Union[str, bytes], stream: str = "stdout", timestamp: Time = None) -> None:
        """Appends a text, line by line, to ``stdout``, ``stderr`` or ``internal``."""
        if stream not in ("stdout", "stderr", "internal"):
            raise ValueError(f"stream is {stream!r}: it must be 'stdout', 'stderr' or 'internal'")
        self._append(text, stream, timestamp)

    def _append(self, text: Union[str, bytes], stream: str, at: Time = None, continues: bool = False) -> None:
        self._core.log.append_all(self._core.lines(text, stream, at, continues))

    def flush(self, timeout: float = 10.0) -> bool:
        """Waits until the server has confirmed every line so far. Returns False if it did not in time."""
        last, deadline = self._core.log.last_seq, time.monotonic() + timeout
        log = self._core.log
        with log.changed:
            while log.confirmed.next_seq <= last and not self._done.is_set():
                left = deadline - time.monotonic()
                if left <= 0 or os.getpid() != self._pid:
                    break
                log.changed.wait(min(left, 1.0))
        return log.confirmed.next_seq > last

    def end(
        self,
        exit_code: Optional[int] = 0,
        *,
        signal: Optional[int] = None,
        aborted: bool = False,
        wait: bool = True,
    ) -> Optional[Delivery]:
        """Ends the task, and waits until everything is delivered.

        A negative exit code is a signal, as in `subprocess`. Returns what became of the log, or None with `wait=False`:
        delivery then goes on in the background, for `end_timeout` seconds without progress at most.
        """
        return self._finish(end_of(exit_code, signal, aborted), wait)

    def detach(self, wait: bool = True) -> Optional[Delivery]:
        """Stops without ending the task, which another worker can go on with."""
        return self._finish(None, wait)

    def join(self, timeout: Optional[float] = None) -> Optional[Delivery]:
        """Waits for the delivery after `end(wait=False)`. Returns None if that takes longer."""
        self._done.wait(timeout)
        return self._delivery

    def _finish(self, end: Optional[End], wait: bool) -> Optional[Delivery]:
        if os.getpid() != self._pid:
            return None
        self._core.finish(end)
        if not wait:
            return None
        try:
            self._done.wait()
        except BaseException:
            # Ctrl-C: what is not delivered stays undelivered.
            self._give_up()
            raise
        return self._delivery

    def _give_up(self) -> None:
        self._given_up = True
        if self._gives_up is not None:
            self._gives_up()
        self._done.wait(STOP_TIMEOUT)

    def _main(self) -> None:
        try:
            asyncio.run(self._deliver())
        finally:
            self._delivery = self._core.close()
            self._done.set()
            with self._core.log.changed:
                self._core.log.changed.notify_all()
            _live.discard(self)

    async def _deliver(self) -> None:
        loop, core = asyncio.get_running_loop(), self._core
        connect = dial_blocking(CONNECT_TIMEOUT)
        uplink = core.start(connect)
        finished = asyncio.Event()
        waker = _Waker(uplink.wake, finished, core)
        core.log.on_change = waker.request
        job = asyncio.ensure_future(core.deliver(connect, finished))

        def give_up() -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(job.cancel)

        self._gives_up = give_up
        if self._given_up:  # before this thread ran
            job.cancel()
        waker.wake()
        with contextlib.suppress(asyncio.CancelledError):
            await job

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._end_after(error)

    def _end_after(self, error: Optional[BaseException], wait: bool = True) -> Optional[Delivery]:
        """Ends the task as Python would end a program with this exception."""
        if error is None:
            return self.end(0 if self.exit_code is None else self.exit_code, wait=wait)
        code, signal, aborted, text = status_of(error)
        if text:
            self._append(text, "stderr")
        return self.end(code, signal=signal, aborted=aborted, wait=wait)


class _Waker:
    """Wakes the event loop from other threads, at most once for each time that it looks."""

    def __init__(self, wake: asyncio.Event, finished: asyncio.Event, core: Core) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake, self._finished, self._core = wake, finished, core
        self._requested = False

    def request(self) -> None:
        if not self._requested:
            self._requested = True
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self.wake)

    def wake(self) -> None:
        # First, so that a later append requests another wake-up.
        self._requested = False
        self._wake.set()
        if self._core.log.is_finished:
            self._finished.set()


def status_of(error: BaseException) -> "tuple[Optional[int], Optional[int], bool, str]":
    """Returns exit code, signal, whether it was aborted, and the text for an exception that ends a task."""
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return error.code or 0, None, False, ""
        return 1, None, False, str(error.code)
    if isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
        return None, SIGINT, True, ""
    return 1, None, False, "".join(traceback.format_exception(type(error), error, error.__traceback__))


def task(task: Union[str, int], **options: "Unpack[WorkerOptions]") -> Worker:
    """Returns a worker for a task, to be used in a ``with`` statement; see `Worker`."""
    return Worker(task, **options)


def live_workers() -> List[Worker]:
    """Returns the workers that have not delivered everything."""
    return list(_live)


@atexit.register
def _detach_all() -> None:
    for worker in live_workers():
        worker.detach(wait=False)
    for worker in live_workers():
        worker.join()


def _forget_after_fork() -> None:
    # The thread and the loop are the parent's.
    for worker in live_workers():
        worker._core.log.forget_threads()
    _live.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
