"""The local log of a worker: every line that the server has not confirmed, in files.

    line() -> append -> segment | segment | segment -> read -> server
                 \\                                        /
                  full: the newest lines in memory       confirm: segments are removed

Lines are written to the page cache, which a kill of the process does not undo, by the thread that sends them, and
at the latest with the next sync. Memory is bounded: only beyond the limit of the disk space are the newest lines kept
in memory, and the oldest of these dropped and counted, as one line ``[N messages skipped]`` in their place.
"""

import collections
import contextlib
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Callable, Deque, NamedTuple, Optional, Sequence, Union

from tasktail._line import Checksum, Line
from tasktail._segment import FileSegment, MemorySegment

SPOOL_BYTES_MAX = 4 * 1024**3
"""Default limit of the local log; a quarter of the free disk space if that is less."""
SPOOL_BYTES_MIN = 1024**2
"""Smallest limit that can be set."""
MEMORY_BYTES_MAX = 64 * 1024**2
"""Limit where no file can be written."""
SEGMENT_BYTES = 16 * 1024**2
"""Size of a segment; confirmed segments are removed."""
BATCH_BYTES_MAX = 512 * 1024
"""Bytes of one message. A line has at most 64 KiB, and six times as many as JSON."""
BUFFER_BYTES = 64 * 1024
"""Bytes that are collected for one write, until the lines are sent or synced."""
KEPT_LINES_MAX = 10_000
"""Newest lines that are kept in memory beyond the limit."""
KEPT_BYTES_MAX = 8 * 1024**2
"""Bytes of these lines."""


class Cursor(NamedTuple):
    """A position between two lines."""

    segment: int
    """Number of the segment since the start."""
    offset: int
    next_seq: int
    """Number of the line after it."""


class Batch(NamedTuple):
    """Consecutive lines, ready to be sent."""

    first_seq: int
    lines: bytes
    """The elements of a JSON array."""
    after: Cursor


class End(NamedTuple):
    """The end of a task."""

    time_ms: int
    exit_code: Optional[int]
    signal: Optional[int]
    aborted: bool


Segment = Union[FileSegment, MemorySegment]


class LocalLog:
    """Lines in order of their numbers, and the end of the task. All methods may be called by any thread."""

    def __init__(self, folder: Optional[Path] = None, bytes_max: Optional[int] = None, overflow: str = "skip") -> None:
        if bytes_max is not None and bytes_max < SPOOL_BYTES_MIN:
            raise ValueError(f"spool_bytes_max is {bytes_max}: it must be at least {SPOOL_BYTES_MIN}")
        if overflow not in ("skip", "wait"):
            raise ValueError(f"overflow is {overflow!r}: it must be 'skip' or 'wait'")
        self._folder = folder
        self._bytes_max = bytes_max or _default_limit(folder)
        self._segment_bytes = min(SEGMENT_BYTES, self._bytes_max // 4)
        self._overflow = overflow
        self._memory_only = False
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        """Notified when the server has confirmed lines, and at the end; also the lock of the log."""
        self._segments: Deque[Segment] = collections.deque()
        self._first_segment = 0
        self._bytes = 0
        self._buffer = bytearray()
        self._kept: Deque[Line] = collections.deque()
        self._kept_bytes = 0
        self._checksum: Optional[Checksum] = Checksum()
        self._closed = False
        self._skipped_pending = 0
        self.on_change: Callable[[], None] = lambda: None
        """Called after an append, with the lock held."""
        self.skipped_lines = 0
        """Lines that were dropped."""
        self.last_seq = 0
        """Number of the last line."""
        self.confirmed = Cursor(0, 0, 1)
        """Position up to which the server has confirmed the lines."""
        self.end: Optional[End] = None
        self.detached = False
        """No line follows, and the task goes on."""

    @classmethod
    def recover(cls, folder: Path) -> "LocalLog":
        """Returns the log that another process left in a folder, without its incomplete last line."""
        log = cls(folder)
        # The lines that were confirmed are not there any more, so their checksum is unknown.
        log._checksum = None
        for path in sorted(folder.glob("*.jsonl")):
            segment = FileSegment(int(path.stem), path)
            lines, size = 0, 0
            while True:
                data = segment.read(size, BATCH_BYTES_MAX)
                complete = data.rfind(b"\n") + 1
                if complete == 0:
                    break
                lines += data.count(b"\n", 0, complete)
                size += complete
            segment.cut(size)
            log._segments.append(segment)
            log._bytes += size
            log.last_seq = segment.first_seq + lines - 1
        if log._segments:
            log.confirmed = Cursor(0, 0, log._segments[0].first_seq)
        return log

    def append_all(self, lines: Sequence[Line]) -> None:
        """Appends lines, with as few writes as possible; waits for space where that is the rule."""
        with self._lock:
            if len(lines) > 1 and not self._kept and not self._closed and not self.is_finished:
                written = self._write_all(lines)
                if written:
                    self.on_change()
                    lines = lines[written:]
        for line in lines:
            self.append(line)

    def append(self, line: Line, wait: bool = True) -> bool:
        """Appends a line. Returns False if it must wait for space and may not."""
        with self._lock:
            if self._closed or self.is_finished:
                return True
            if not self._kept and self._write(line):
                self.on_change()
                return True
            if self._overflow == "wait":
                while not self._write(line):
                    if not wait:
                        return False
                    self.changed.wait()
                    if self._closed or self.is_finished:
                        return True
                self.on_change()
                return True
            self._keep(line)
            return True

    def finish(self, end: Optional[End]) -> None:
        """Ends the log, and the task unless `end` is None. Later lines are ignored."""
        with self._lock:
            if not self.is_finished:
                self.end, self.detached = end, end is None
            self.changed.notify_all()
            self.on_change()

    @property
    def is_finished(self) -> bool:
        """No line follows."""
        return self.end is not None or self.detached

    def read(self, cursor: Cursor) -> Optional[Batch]:
        """Returns the lines after a position, or None if there are none yet."""
        with self._lock:
            self._restore()
            self._flush()
            while True:
                at = cursor.segment - self._first_segment
                if at < 0:
                    at, cursor = 0, Cursor(self._first_segment, 0, cursor.next_seq)
                if at >= len(self._segments):
                    return None
                segment = self._segments[at]
                if cursor.offset < segment.size:
                    break
                if at + 1 == len(self._segments):
                    return None
                cursor = Cursor(cursor.segment + 1, 0, cursor.next_seq)
            data = segment.read(cursor.offset, min(BATCH_BYTES_MAX, segment.size - cursor.offset))
        data = data[: data.rfind(b"\n") + 1]
        next_seq = cursor.next_seq + data.count(b"\n")
        after = Cursor(cursor.segment, cursor.offset + len(data), next_seq)
        return Batch(cursor.next_seq, data[:-1].replace(b"\n", b","), after)

    def confirm(self, cursor: Cursor) -> None:
        """Records that the server has the lines before a position, and gives their space back."""
        with self._lock:
            self.confirmed = cursor
            while self._segments and self._first_segment < cursor.segment:
                segment = self._segments.popleft()
                self._first_segment += 1
                self._bytes -= segment.size
                segment.remove()
            last = self._segments[-1] if self._segments else None
            if last is not None and self._kept and len(self._segments) == 1 and cursor.next_seq > self.last_seq:
                # Nothing in it is needed any more, but lines wait for its space.
                self._segments.clear()
                self._first_segment += 1
                self._bytes = 0
                last.remove()
            self._restore()
            self.changed.notify_all()

    def is_numbered(self) -> bool:
        """Reports whether no line follows, and every line has a number."""
        with self._lock:
            self._restore()
            return self.is_finished and not self._kept

    def totals(self) -> "tuple[int, Optional[str]]":
        """Returns the number of lines and their checksum, if it is known."""
        return self.last_seq, self._checksum.text() if self._checksum else None

    @property
    def unconfirmed_lines(self) -> int:
        """Lines that the server has not confirmed."""
        return self.last_seq + 1 - self.confirmed.next_seq + len(self._kept)

    def sync(self) -> None:
        """Waits until the lines written so far are on disk.

        Raises:
            OSError: the disk did not confirm it.
        """
        with self._lock:
            self._flush()
            segments = list(self._segments)[-2:]
        # Without the lock, so that a slow disk does not block appends.
        for segment in segments:
            with contextlib.suppress(ValueError):  # it was confirmed and removed in the meantime
                segment.sync()

    def forget_threads(self) -> None:
        """Closes the log in a child process, where another process may hold the lock and writes the files."""
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        self._closed = True

    def close(self) -> None:
        """Closes the files. The lines of an anonymous log are gone; appends are ignored."""
        with self._lock:
            if not self._closed:
                self._flush()
            self._closed = True
            for segment in self._segments:
                segment.close()
            self._segments.clear()
            self.changed.notify_all()

    def _keep(self, line: Line) -> None:
        """Keeps a line in memory, in place of the oldest ones there if there are too many."""
        self._kept.append(line)
        self._kept_bytes += len(line.text)
        while len(self._kept) > KEPT_LINES_MAX or self._kept_bytes > KEPT_BYTES_MAX:
            self._kept_bytes -= len(self._kept.popleft().text)
            self._skipped_pending += 1

    def _restore(self) -> None:
        """Writes the lines kept in memory, as far as there is space again."""
        while self._kept and not self._closed:
            if self._skipped_pending:
                oldest = self._kept[0]
                if not self._write(Line("internal", oldest.time_ms, f"[{self._skipped_pending} messages skipped]")):
                    return
                self.skipped_lines += self._skipped_pending
                self._skipped_pending = 0
            if not self._write(self._kept[0]):
                return
            self._kept_bytes -= len(self._kept.popleft().text)

    def _write(self, line: Line) -> bool:
        """Appends a line to the last segment. Returns False if there is no space."""
        return self._write_all((line,)) == 1

    def _write_all(self, lines: Sequence[Line]) -> int:
        """Appends lines to the last segment, all or none. Returns their number, or 0 if there is no space."""
        records = b"".join([line.encode() for line in lines])
        if self._bytes + len(records) > self._bytes_max:
            return 0
        if not self._buffer:
            # The number of a new segment's first line.
            self._writable()
        self._buffer += records
        self._bytes += len(records)
        if self._checksum is not None:
            self._checksum.add(self.last_seq + 1, lines)
        self.last_seq += len(lines)
        if len(self._buffer) >= BUFFER_BYTES:
            self._flush()
        return len(lines)

    def _flush(self) -> None:
        """Writes the buffer to the last segment."""
        if not self._buffer:
            return
        try:
            self._segments[-1].append(bytes(self._buffer))
        except OSError:
            # The disk is full: memory takes the rest, up to its limit.
            segment = MemorySegment(self.last_seq)
            segment.append(bytes(self._buffer))
            self._segments.append(segment)
            self._use_memory()
        self._buffer.clear()

    def _writable(self) -> Segment:
        last = self._segments[-1] if self._segments else None
        if last is None or last.size >= self._segment_bytes or (self._memory_only and isinstance(last, FileSegment)):
            last = self._new_segment()
            self._segments.append(last)
        return last

    def _new_segment(self) -> Segment:
        first_seq = self.last_seq + 1
        if not self._memory_only:
            try:
                path = None if self._folder is None else self._folder / f"{first_seq:020d}.jsonl"
                return FileSegment(first_seq, path)
            except OSError:
                self._use_memory()
        return MemorySegment(first_seq)

    def _use_memory(self) -> None:
        self._memory_only = True
        self._bytes_max = min(self._bytes_max, self._bytes + MEMORY_BYTES_MAX)


def _default_limit(folder: Optional[Path]) -> int:
    try:
        free = shutil.disk_usage(folder or tempfile.gettempdir()).free
    except OSError:
        return MEMORY_BYTES_MAX
    return max(SPOOL_BYTES_MIN, min(SPOOL_BYTES_MAX, free // 4))
