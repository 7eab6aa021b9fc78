"""Sends what a Celery task logs and prints to a log of its own, which can be followed while the task runs.

    app = Celery(...)
    tasktail.celery.setup(url="http://127.0.0.1:7117")

Everything that is logged in the thread of a running task is a line of the log with the task's id; the loggers need
not be changed. The log ends with exit code 0, or 1 and the traceback if the task fails, or as aborted if it was
revoked. A task that is retried goes on with the same log. It works with every pool that runs a task in one thread
(prefork, solo, threads).
"""

import logging
import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence

from celery import current_task, signals

from tasktail._delivery import WorkerOptions
from tasktail._worker import Worker
from tasktail.logging import send

if TYPE_CHECKING:
    from typing_extensions import Unpack

PENDING_MAX = 32
"""Ended logs that are still being delivered; beyond these, the next task waits for the oldest."""
PENDING_TIMEOUT = 10.0
"""Seconds to wait for the oldest."""
LOGGERS = ("", "celery.task")
"""Loggers whose records are sent: the root, and Celery's for tasks, which does not propagate in a worker."""

_setup: Optional["_TaskLogs"] = None


def setup(
    *,
    task_id: Optional[Callable[[Any, str, Sequence[Any], Dict[str, Any]], Optional[str]]] = None,
    loggers: Sequence[str] = LOGGERS,
    level: int = logging.NOTSET,
    format: str = "%(levelname)s %(name)s: %(message)s",
    **options: "Unpack[WorkerOptions]",
) -> None:
    """Connects the signals of Celery in this process. Called again, it replaces the options.

    Args:
        task_id: returns the id of the log for a task object, its Celery id and its arguments; None means no log.
            By default the Celery id.
        loggers: names of the loggers whose records are sent.
        level: least level of records.
        format: format of records; what a task prints is sent as it is.
        options: options of `tasktail.Worker`, such as ``url``, ``token``, ``masks`` and ``spool``.
    """
    global _setup
    teardown()
    handler = _Handler(level)
    handler.setFormatter(logging.Formatter(format))
    _setup = _TaskLogs(handler, loggers, task_id, options)
    signals.task_prerun.connect(_setup.begin, weak=False)
    signals.task_retry.connect(_setup.retry, weak=False)
    signals.task_failure.connect(_setup.fail, weak=False)
    signals.task_revoked.connect(_setup.revoke, weak=False)
    signals.task_postrun.connect(_setup.finish, weak=False)


def teardown() -> None:
    """Disconnects the signals, and waits for the logs that are still being delivered."""
    global _setup
    if _setup is None:
        return
    signals.task_prerun.disconnect(_setup.begin)
    signals.task_retry.disconnect(_setup.retry)
    signals.task_failure.disconnect(_setup.fail)
    signals.task_revoked.disconnect(_setup.revoke)
    signals.task_postrun.disconnect(_setup.finish)
    _setup.close()
    _setup = None


class _Handler(logging.Handler):
    """Sends a record to the log of the task that runs in this thread."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.workers: Dict[str, Worker] = {}
        self._printed = logging.Formatter("%(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "tasktail" or getattr(record, "_tasktail_sent", False):
            return
        # A record reaches more than one of the loggers if it propagates.
        record._tasktail_sent = True
        request = getattr(current_task, "request", None)
        worker = self.workers.get(getattr(request, "id", None) or "")
        if worker is None:
            return
        if record.name == "celery.redirected":
            worker.line(self._printed.format(record), "stdout", record.created)
        else:
            send(self, worker, record)


class _TaskLogs:
    """The logs of the tasks that run in this process."""

    def __init__(
        self,
        handler: _Handler,
        loggers: Sequence[str],
        task_id: Optional[Callable[[Any, str, Sequence[Any], Dict[str, Any]], Optional[str]]],
        options: WorkerOptions,
    ) -> None:
        self._handler, self._loggers, self._task_id, self._options = handler, loggers, task_id, options
        self._lock = threading.Lock()
        self._pending: List[Worker] = []

    def begin(self, task_id: str, task: Any, args: Sequence[Any], kwargs: Dict[str, Any], **_: Any) -> None:
        named = self._task_id(task, task_id, args, kwargs) if self._task_id else task_id
        if named is None:
            return
        # A Celery worker replaces the handlers of its loggers when it starts.
        for name in self._loggers:
            logging.getLogger(name).addHandler(self._handler)
        self._make_room()
        options = self._options.copy()
        options["labels"] = {"celery": task.name, **(options.get("labels") or {})}
        self._handler.workers[task_id] = Worker(named, **options)

    def fail(self, task_id: str, einfo: Any = None, **_: Any) -> None:
        worker = self._handler.workers.get(task_id)
        if worker is not None and einfo is not None:
            worker.line(str(einfo.traceback), "stderr")

    def retry(self, request: Any, reason: Any = None, **_: Any) -> None:
        worker = self._handler.workers.get(request.id)
        if worker is not None:
            worker.line(f"the task is retried: {reason}", "internal")

    def revoke(self, request: Any, terminated: bool = False, **_: Any) -> None:
        worker = self._handler.workers.pop(request.id, None)
        if worker is not None:
            worker.line("the task was revoked", "internal")
            worker.end(None, aborted=True, wait=False)
            self._keep(worker)

    def finish(self, task_id: str, state: Optional[str] = None, **_: Any) -> None:
        worker = self._handler.workers.pop(task_id, None)
        if worker is None:
            return
        if state == "RETRY":
            worker.detach(wait=False)
        elif state in ("IGNORED", "REVOKED", "REJECTED"):
            worker.end(None, aborted=True, wait=False)
        else:
            worker.end(0 if state == "SUCCESS" else 1, wait=False)
        self._keep(worker)

    def close(self) -> None:
        """Waits for all logs, and removes the handler."""
        for name in self._loggers:
            logging.getLogger(name).removeHandler(self._handler)
        for worker in self._pending:
            worker.join()

    def _keep(self, worker: Worker) -> None:
        with self._lock:
            self._pending = [other for other in self._pending if other.delivery is None]
            self._pending.append(worker)

    def _make_room(self) -> None:
        with self._lock:
            oldest = self._pending[0] if len(self._pending) >= PENDING_MAX else None
        if oldest is not None:
            oldest.join(PENDING_TIMEOUT)
