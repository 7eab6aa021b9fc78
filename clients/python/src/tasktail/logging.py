"""A handler of `logging` that sends records to the log of a task."""

import atexit
import contextlib
import logging
import sys
import weakref
from typing import TYPE_CHECKING, Optional, Union

from tasktail._delivery import WorkerOptions
from tasktail._worker import Worker

if TYPE_CHECKING:
    from typing_extensions import Unpack

_open: "weakref.WeakSet[Handler]" = weakref.WeakSet()


class Handler(logging.Handler):
    """Sends each record as lines: those of WARNING and above to ``stderr``, others to ``stdout``.

        logging.getLogger().addHandler(tasktail.logging.Handler("nightly"))

    `close` ends the task with exit code 0. It is called at the exit of the program; after an uncaught exception, the
    log ends with its traceback and exit code 1.

    Args:
        task: id of the task, or a `tasktail.Worker`, which the handler does not end.
        level: level of the handler.
        options: options of `tasktail.Worker`.
    """

    def __init__(
        self, task: Union[str, int, Worker], level: Union[int, str] = logging.NOTSET, **options: "Unpack[WorkerOptions]"
    ) -> None:
        super().__init__(level)
        self._own = not isinstance(task, Worker)
        self.worker = task if isinstance(task, Worker) else Worker(task, **options)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        _open.add(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Appends a record to the log; our own are not, as they are about the log."""
        if record.name == "tasktail":
            return
        send(self, self.worker, record)

    def flush(self) -> None:
        """Does nothing: records are sent at once."""

    def close(self) -> None:
        """Ends the task, and waits until its log is delivered."""
        if self._own:
            self.worker.end(0)
        _open.discard(self)
        super().close()


def send(handler: logging.Handler, worker: Optional[Worker], record: logging.LogRecord) -> None:
    """Appends a record to a worker's log, formatted by a handler."""
    if worker is None:
        return
    try:
        text = handler.format(record)
    except Exception:  # as in logging: a bad format string must not end the program
        handler.handleError(record)
        return
    worker.line(text, "stderr" if record.levelno >= logging.WARNING else "stdout", record.created)


@atexit.register
def _close_all() -> None:
    # Set by the interpreter when it prints the traceback of an uncaught exception.
    error = getattr(sys, "last_value", None)
    for handler in list(_open):
        with contextlib.suppress(Exception):
            if handler._own and error is not None:
                handler.worker._end_after(error)
            handler.close()
