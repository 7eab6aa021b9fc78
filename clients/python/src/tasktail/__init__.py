"""Streams a task's output live to a browser and a terminal, and keeps it.

    import tasktail

    with tasktail.task("42") as t:
        t.line("Building...")

    done = tasktail.run_streamed(["make", "-j8"], task="build-7")

The server is the one at ``TASKTAIL_URL``, or ``tasktail serve`` on this machine. Modules: `tasktail.aio` (asyncio),
`tasktail.logging`, `tasktail.celery`, `tasktail.django`, `tasktail.ansible`, and a plugin for pytest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from tasktail import aio as aio
    from tasktail import celery as celery
    from tasktail import logging as logging
    from tasktail._binary import find_binary
    from tasktail._delivery import Delivery
    from tasktail._endpoint import TasktailError
    from tasktail._events import EventLog
    from tasktail._run import StreamedProcess, run_streamed
    from tasktail._server import Server
    from tasktail._spool import send_unsent
    from tasktail._worker import Worker, task
else:
    # pytest imports this package in every project that has it installed, so members are imported on their first use.
    _HOMES = {
        "Delivery": "_delivery",
        "EventLog": "_events",
        "Server": "_server",
        "StreamedProcess": "_run",
        "TasktailError": "_endpoint",
        "Worker": "_worker",
        "find_binary": "_binary",
        "run_streamed": "_run",
        "send_unsent": "_spool",
        "task": "_worker",
    }
    _MODULES = {"aio", "celery", "logging"}

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return import_module(f"tasktail.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module 'tasktail' has no attribute {name!r}")
        value = getattr(import_module(f"tasktail.{_HOMES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> List[str]:
        return sorted({*globals(), *_HOMES, *_MODULES})


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
