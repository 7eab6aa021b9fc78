"""What a worker is made of, with threads and with asyncio alike."""

import asyncio
import contextlib
import datetime
import fcntl
import json
import logging
import os
import shutil
import socket
import time
import uuid
from pathlib import Path
from typing import Any, Iterable, Mapping, NamedTuple, Optional, Sequence, TypedDict, Union

from tasktail._endpoint import Endpoint, check_id
from tasktail._line import Line, lines_of, now_ms
from tasktail._local_log import End, LocalLog
from tasktail._mask import Masks
from tasktail._uplink import Session, Uplink
from tasktail._websocket import Dial

END_TIMEOUT = 10.0
"""Default seconds without progress after which the wait for a task's delivery ends."""
UNREACHED_TIMEOUT = 2.0
"""The same where no connection was ever made."""
PATIENCE_RECHECK = 1.0
"""Seconds after which it is looked whether the connection has come or gone."""
CONNECTED_PATIENCE = 6
"""How many times as long the wait is while the server is connected, and perhaps busy."""
SYNC_INTERVAL = 0.2
"""Seconds between syncs of a spool."""
SPOOL_FOLDER = "python"
"""Folder of our sessions inside a spool, beside those of `tasktail run --spool`."""

tracing = logging.getLogger("tasktail")

Time = Union[None, int, float, datetime.datetime]
"""Seconds since 1970, or a datetime; None is now."""


class Delivery(NamedTuple):
    """What became of a task's log."""

    task: str
    """Id of the task; ``ID.2`` and so on if the task named had ended before."""
    complete: bool
    """The server has confirmed every line and the end."""
    lines: int
    """Lines that the worker numbered."""
    undelivered_lines: int
    """Lines that the server has not confirmed."""
    skipped_lines: int
    """Lines that were dropped because the local log was full; the log has a mark in their place."""
    reason: Optional[str]
    """Why it is not complete."""


class WorkerOptions(TypedDict, total=False):
    """Keyword arguments of a worker; `tasktail.Worker` describes them."""

    url: Optional[str]
    token: Optional[str]
    ca_file: Optional[str]
    command: Sequence[str]
    labels: Optional[Mapping[str, str]]
    masks: Iterable[str]
    spool: Union[str, "os.PathLike[str]", None]
    spool_bytes_max: Optional[int]
    overflow: str
    end_timeout: Optional[float]


class Options(NamedTuple):
    """Options of a worker; `tasktail.Worker` describes them."""

    task: str
    endpoint: Endpoint
    command: Sequence[str]
    labels: Mapping[str, str]
    masks: Masks
    spool: Optional[Path]
    spool_bytes_max: Optional[int]
    overflow: str
    end_timeout: Optional[float]

    @classmethod
    def of(
        cls,
        task: Union[str, int],
        *,
        url: Optional[str] = None,
        token: Optional[str] = None,
        ca_file: Optional[str] = None,
        command: Sequence[str] = (),
        labels: Optional[Mapping[str, str]] = None,
        masks: Iterable[str] = (),
        spool: Union[str, "os.PathLike[str]", None] = None,
        spool_bytes_max: Optional[int] = None,
        overflow: str = "skip",
        end_timeout: Optional[float] = None,
    ) -> "Options":
        """Checks options.

        Raises:
            ValueError: one is invalid.
        """
        endpoint = Endpoint.of(url, token, ca_file)
        folder = None if spool is None else Path(spool)
        return cls(
            check_id(task),
            endpoint,
            command,
            labels or {},
            Masks(masks),
            folder,
            spool_bytes_max,
            overflow,
            end_timeout,
        )


class Core:
    """The local log of a task, and its delivery in an event loop."""

    def __init__(self, options: Options, session: Optional[Session] = None, log: Optional[LocalLog] = None) -> None:
        self.options = options
        self.masks = options.masks
        self.session = session or _new_session(options)
        self.folder: Optional[Path] = None
        self._lock_file: Optional[int] = None
        if log is None:
            self._create_folder()
            log = LocalLog(self.folder, options.spool_bytes_max, options.overflow)
        self.log = log
        self.uplink: Optional[Uplink] = None

    def lines(self, text: Union[str, bytes], stream: str, at: Time, continues: bool = False) -> "list[Line]":
        """Returns the lines of a text; `continues` means that the last one is not at its end."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogateescape")
        time_ms = _millis(at)
        lines = list(lines_of(self.masks.apply(text), stream, time_ms))
        if continues and lines:
            lines[-1] = lines[-1]._replace(partial=True)
        return lines

    def finish(self, end: Optional[End]) -> None:
        """Ends the log, and the task unless `end` is None."""
        if end is not None and self.folder is not None and self.log.end is None:
            # Before the log ends, as the folder is removed when the end is delivered.
            with contextlib.suppress(OSError):
                self.log.sync()
                write_json(self.folder / "end.json", end._asdict())
        self.log.finish(end)

    async def deliver(self, connect: Dial, finished: asyncio.Event) -> None:
        """Delivers until everything is confirmed, or until there was no progress for `end_timeout` after the end."""
        uplink = self.uplink
        if uplink is None:
            return
        jobs = [asyncio.ensure_future(uplink.run())]
        if self.folder is not None:
            jobs.append(asyncio.ensure_future(self._sync_regularly()))
        waiting = asyncio.ensure_future(finished.wait())
        try:
            await asyncio.wait({jobs[0], waiting}, return_when=asyncio.FIRST_COMPLETED)
            uplink.progress = max(uplink.progress, time.monotonic())
            while not jobs[0].done():
                left = uplink.progress + self._patience(uplink) - time.monotonic()
                if left <= 0:
                    break
                await asyncio.wait({jobs[0]}, timeout=min(left, PATIENCE_RECHECK))
        finally:
            uplink.stopped = True
            for job in (*jobs, waiting):
                job.cancel()
            await asyncio.gather(*jobs, waiting, return_exceptions=True)

    def _patience(self, uplink: Uplink) -> float:
        """Returns the seconds without progress after which the wait at the end is given up."""
        given = self.options.end_timeout
        if given is None:
            given = END_TIMEOUT if uplink.was_reached else UNREACHED_TIMEOUT
        return given * (CONNECTED_PATIENCE if uplink.is_connected else 1)

    def start(self, connect: Dial) -> Uplink:
        """Creates the uplink, in the event loop that runs it."""
        self.uplink = Uplink(self.options.endpoint, self.options.task, self.session, self.log, connect)
        return self.uplink

    def close(self) -> Delivery:
        """Closes the local log, and removes it if everything was delivered."""
        uplink, log = self.uplink, self.log
        complete = uplink is not None and uplink.complete
        lines, undelivered = log.last_seq, 0 if complete else log.unconfirmed_lines
        reason = None
        if not complete:
            reason = (uplink.reason if uplink else None) or "the server did not confirm everything in time"
            if self.folder is not None:
                reason += f"; the rest is in {self.folder}, and tasktail.send_unsent() sends it"
        log.close()
        if self.folder is not None and complete:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None
        task = uplink.task if uplink else self.options.task
        if reason is not None:
            tracing.warning("task %s: %d lines and the end were not delivered: %s", task, undelivered, reason)
        return Delivery(task, complete, lines, undelivered, log.skipped_lines, reason)

    def adopt(self, folder: Path, lock_file: int) -> None:
        """Takes over the folder of another process."""
        self.folder, self._lock_file = folder, lock_file

    def _create_folder(self) -> None:
        if self.options.spool is None:
            return
        folder = self.options.spool / SPOOL_FOLDER / self.session.session
        try:
            folder.mkdir(mode=0o700, parents=True)
            self._lock_file = lock_folder(folder)
            details = {"task": self.options.task, "url": self.options.endpoint.url, **self.session._asdict()}
            write_json(folder / "session.json", details)
        except OSError as error:
            tracing.warning("task %s: the spool cannot be used: %s", self.options.task, error)
            return
        self.folder = folder

    async def _sync_regularly(self) -> None:
        loop, synced = asyncio.get_running_loop(), 0
        while True:
            await asyncio.sleep(SYNC_INTERVAL)
            last = self.log.last_seq
            if last > synced:
                with contextlib.suppress(OSError, RuntimeError):
                    await loop.run_in_executor(None, self.log.sync)
                    synced = last


def lock_folder(folder: Path) -> Optional[int]:
    """Locks a session's folder, and returns the file that holds the lock; None if another process has it."""
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a file completely or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


def end_of(exit_code: Optional[int], signal: Optional[int], aborted: bool) -> End:
    """Returns an end now; a negative exit code is a signal, as in `subprocess`."""
    if exit_code is not None and exit_code < 0:
        return End(now_ms(), None, -exit_code, aborted)
    return End(now_ms(), exit_code, signal, aborted)


def _new_session(options: Options) -> Session:
    labels = {str(key): options.masks.apply(str(value)) for key, value in options.labels.items()}
    command = [options.masks.apply(os.fsdecode(word)) for word in options.command]
    return Session(uuid.uuid4().hex, command, socket.gethostname(), labels, now_ms())


def _millis(at: Time) -> int:
    if at is None:
        return now_ms()
    seconds = at.timestamp() if isinstance(at, datetime.datetime) else at
    return max(0, int(seconds * 1000))
