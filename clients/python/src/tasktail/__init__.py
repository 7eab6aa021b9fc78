"""Streams a task's output live to a browser and a terminal, and keeps it.

    import tasktail

    with tasktail.task("42") as t:
        t.line("Building...")

    done = tasktail.run_streamed(["make", "-j8"], task="build-7")

The server is the one at ``TASKTAIL_URL``, or ``tasktail serve`` on this machine. Modules: `tasktail.aio` (asyncio),
`tasktail.logging`, `tasktail.celery`, `tasktail.django`, `tasktail.ansible`, and a plugin for pytest.
"""

from tasktail._binary import find_binary
from tasktail._delivery import Delivery
from tasktail._endpoint import TasktailError
from tasktail._events import EventLog
from tasktail._run import StreamedProcess, run_streamed
from tasktail._server import Server
from tasktail._spool import send_unsent
from tasktail._worker import Worker, task

__all__ = [
    "Delivery",
    "EventLog",
    "Server",
    "StreamedProcess",
    "TasktailError",
    "Worker",
    "find_binary",
    "run_streamed",
    "send_unsent",
    "task",
]
