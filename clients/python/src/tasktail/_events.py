"""`EventLog`: the events of a run, in a file or at a server."""

import contextlib
import datetime
import fcntl
import http.client
import json
import os
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Type, Union

from tasktail._endpoint import Endpoint, TasktailError, check_id

Event = Dict[str, Any]

FILE_MODE = 0o644
LOCK_TIMEOUT = 1.0
"""Seconds to wait for a process that holds the lock; one that holds it for longer was suspended."""
POLL_INTERVAL = 0.1
"""Seconds between looks at a file that is followed."""
BLOCK_BYTES = 64 * 1024
"""Bytes that `tail` reads at a time, from the end."""
PAGE_EVENTS = 1000
"""Events of one request."""
RECONNECT_PAUSE = 1.0
"""Seconds before a lost stream is opened again."""
STREAM_SILENCE_MAX = 45.0
"""Seconds without a byte after which a stream is lost; the server sends a comment every 15 s."""


class EventLog:
    """Appends the events of a run, and reads them back.

        log = tasktail.EventLog("runs/bench-7/events.jsonl")
        log.append({"event_type": "step.started", "step_id": "build"})
        for event in log.read_all(): ...

    Args:
        path: the file, as in ``<run_dir>/events.jsonl``; it is created with its folder if it is missing.
        run: in place of a file, id of a run at a server.
        url: the server; by default ``TASKTAIL_URL``, or the server on this machine.
        token: access token; by default ``TASKTAIL_TOKEN``.
        sync: for a file, `append` waits until the event is on disk.
    """

    def __init__(
        self,
        path: Union[str, "os.PathLike[str]", None] = None,
        *,
        run: Optional[str] = None,
        url: Optional[str] = None,
        token: Optional[str] = None,
        ca_file: Optional[str] = None,
        sync: bool = False,
    ) -> None:
        if (path is None) == (run is None):
            raise ValueError("an EventLog is either a file or a run at a server: give `path` or `run`")
        self.run = run
        """Run of events that name none."""
        if run is not None:
            self._log: Union[_FileLog, _RunLog] = _RunLog(Endpoint.of(url, token, ca_file), check_id(run))
        else:
            file = Path(os.fspath(path or ""))
            self._log = _FileLog(file, sync)
            self.run = file.absolute().parent.name or None

    def append(self, event: Optional[Mapping[str, Any]] = None, **fields: Any) -> Event:
        """Appends an event and returns it as it is stored.

        It gets an ``event_id``, a ``timestamp_utc`` and a ``run_id`` if it has none; for a file, the run is the name of
        its folder. Fields that are None are left out. An ``event_type`` is required, or the fields of a benchmark's
        event (``host``, ``workload``, ``repetition``, ``status``); with an ``event_type``, ``actor`` is ``python`` and
        ``attempt`` 0 unless they are given.

        Raises:
            ValueError: it is not an event.
            TasktailError: the server rejected it, or did not answer.
            OSError: the file cannot be written.
        """
        stored = complete({**(event or {}), **fields}, self.run)
        self._log.append(encode(stored))
        return stored

    def read_all(self) -> List[Event]:
        """Returns every event, oldest first. Lines of a file that are not events are left out."""
        return list(self._log.read())

    def tail(self, n: int = 10) -> List[Event]:
        """Returns the last events, oldest first."""
        return self._log.tail(n) if n > 0 else []

    def stream(self, follow: bool = False) -> "EventStream":
        """Returns the lines of the log, each an event as JSON, to be used in a ``with`` statement.

            with log.stream(follow=True) as lines:
                for line in lines:
                    event = json.loads(line)

        With `follow`, the events that come later are awaited, until the statement is left.
        """
        return EventStream(self._log.lines(follow))


class EventStream:
    """Lines of an event log."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        return self._lines

    def __next__(self) -> str:
        return next(self._lines)

    def __enter__(self) -> "EventStream":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file or the connection."""
        close = getattr(self._lines, "close", None)
        if close is not None:
            close()


def complete(event: Mapping[str, Any], run: Optional[str]) -> Event:
    """Returns the event with an id and a time, and without the fields that are None.

    Raises:
        ValueError: it is not an event.
    """
    kept = {name: value for name, value in event.items() if value is not None}
    if "event_type" not in kept and not {"host", "workload", "repetition", "status"} <= kept.keys():
        raise ValueError("an event needs `event_type`, or `host`, `workload`, `repetition` and `status`")
    defaults: Event = {"event_id": str(uuid.uuid4())}
    if not {"timestamp", "timestamp_utc"} & kept.keys():
        now = datetime.datetime.now(datetime.timezone.utc)
        defaults["timestamp_utc"] = now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z"
    if run is not None:
        defaults["run_id"] = run
    if "event_type" in kept:
        defaults.update(actor="python", attempt=0)
    return {**{name: value for name, value in defaults.items() if name not in kept}, **kept}


def encode(event: Mapping[str, Any]) -> bytes:
    """Returns an event as one compact line.

    Raises:
        ValueError: it has a value that JSON does not.
    """
    try:
        text = json.dumps(event, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"the event cannot be written as JSON: {error}") from error


class _FileLog:
    """Events in a file. One write for each, under the lock that `tasktail events record` uses too."""

    def __init__(self, path: Path, sync: bool) -> None:
        self._path, self._sync = path, sync

    def append(self, line: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Opened for each event, so that a rotated file is not written to.
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            _lock(fd)
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            # The incomplete last line of a killed writer must not swallow this event.
            data = b"\n" + line if torn else line
            while data:
                data = data[os.write(fd, data) :]
            if self._sync:
                os.fdatasync(fd)
        finally:
            os.close(fd)

    def read(self) -> Iterator[Event]:
        return _events(self.lines(follow=False))

    def lines(self, follow: bool) -> Iterator[str]:
        position, inode = 0, -1
        while True:
            with contextlib.suppress(FileNotFoundError), open(self._path, "rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != inode or found.st_size < position:
                    # The file was rotated or truncated.
                    position, inode = 0, found.st_ino
                file.seek(position)
                for line in iter(file.readline, b""):
                    if line.endswith(b"\n") or (not follow and _event(line) is not None):
                        position += len(line)
                        text = line.decode("utf-8", "replace").strip()
                        if text:
                            yield text
            if not follow:
                return
            time.sleep(POLL_INTERVAL)

    def tail(self, n: int) -> List[Event]:
        with contextlib.suppress(FileNotFoundError), open(self._path, "rb") as file:
            start = file.seek(0, os.SEEK_END)
            data = b""
            while start > 0:
                size = min(BLOCK_BYTES, start)
                start -= size
                file.seek(start)
                data = file.read(size) + data
                whole = data if start == 0 else data.partition(b"\n")[2]
                events = [event for event in map(_event, whole.split(b"\n")) if event is not None]
                if len(events) >= n or start == 0:
                    return events[-n:]
        return []


class _RunLog:
    """Events of a run at a server."""

    def __init__(self, endpoint: Endpoint, run: str) -> None:
        self._endpoint, self._path = endpoint, f"/api/v1/runs/{run}/events"

    def append(self, line: bytes) -> None:
        answer = self._endpoint.call("POST", self._path, body=line, content_type="application/x-ndjson")
        for rejected in answer["rejected"]:
            raise ValueError(f"the server rejected the event: {rejected['message']}")

    def read(self) -> Iterator[Event]:
        after: Optional[str] = None
        while True:
            page = self._page(limit=PAGE_EVENTS, after=after)
            yield from page["events"]
            if len(page["events"]) < PAGE_EVENTS:
                return
            after = page["cursor"]

    def tail(self, n: int) -> List[Event]:
        events: List[Event] = self._page(tail=n, limit=min(n, 10 * PAGE_EVENTS))["events"]
        return events

    def _page(self, **query: Any) -> Any:
        try:
            return self._endpoint.call("GET", self._path, query)
        except TasktailError as error:
            if error.code == "not_found":
                return {"events": [], "cursor": None}
            raise

    def lines(self, follow: bool) -> Iterator[str]:
        if not follow:
            for event in self.read():
                yield encode(event).decode().rstrip("\n")
            return
        last_id: Optional[str] = None
        while True:
            headers = {"accept": "text/event-stream", **({"last-event-id": last_id} if last_id else {})}
            try:
                with self._endpoint.open(
                    "GET", f"{self._path}/stream", headers=headers, timeout=STREAM_SILENCE_MAX
                ) as response:
                    for event_id, kind, data in sse_events(response):
                        last_id = event_id or last_id
                        if kind == "message":
                            yield data
            except (OSError, http.client.HTTPException):
                pass
            except TasktailError as error:
                if error.status is not None and error.status not in (404, 429, 503):
                    raise
            time.sleep(RECONNECT_PAUSE)


def sse_events(lines: Iterable[bytes]) -> Iterator["tuple[str, str, str]"]:
    """Yields id, type and data of server-sent events."""
    event_id, kind = "", "message"
    data: List[str] = []
    for raw in lines:
        line = raw.decode().rstrip("\r\n")
        if not line:
            if data:
                yield event_id, kind, "\n".join(data)
            kind, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "id":
            event_id = value
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)


def _events(lines: Iterator[str]) -> Iterator[Event]:
    for line in lines:
        event = _event(line)
        if event is not None:
            yield event


def _event(line: Union[str, bytes]) -> Optional[Event]:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _lock(fd: int) -> None:
    """Locks the file, which the end of the call unlocks; or not, if the holder of the lock is stuck."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    while time.monotonic() < deadline:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            time.sleep(0.001)
