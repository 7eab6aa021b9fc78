"""A part of the local log of a worker: encoded lines in a file, or in memory where no file can be written."""

import os
import tempfile
from pathlib import Path
from typing import Optional


class FileSegment:
    """Encoded lines in a file, which is anonymous unless it has a path."""

    def __init__(self, first_seq: int, path: Optional[Path] = None, folder: Optional[str] = None) -> None:
        self.first_seq = first_seq
        self.path = path
        if path is None:
            self._file = tempfile.TemporaryFile(buffering=0, prefix="tasktail-", dir=folder)  # noqa: SIM115
        else:
            self._file = open(path, "a+b", buffering=0, opener=_open_private)  # noqa: SIM115
        self.size = os.fstat(self._file.fileno()).st_size

    def append(self, record: bytes) -> None:
        """Appends a record completely or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        fd = self._file.fileno()
        try:
            written = os.write(fd, record)
            while written < len(record):
                written += os.write(fd, record[written:])
        except OSError:
            os.ftruncate(fd, self.size)
            raise
        self.size += len(record)

    def read(self, offset: int, size: int) -> bytes:
        """Returns at most this many bytes."""
        return os.pread(self._file.fileno(), size, offset)

    def cut(self, size: int) -> None:
        """Removes what is after this many bytes."""
        os.ftruncate(self._file.fileno(), size)
        self.size = size

    def sync(self) -> None:
        """Waits until the data is on disk."""
        os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Closes the file; an anonymous one is gone."""
        self._file.close()

    def remove(self) -> None:
        """Closes and deletes the file."""
        self.close()
        if self.path is not None:
            self.path.unlink()


class MemorySegment:
    """Encoded lines in memory."""

    path = None

    def __init__(self, first_seq: int) -> None:
        self.first_seq = first_seq
        self._data = bytearray()

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self._data)

    def append(self, record: bytes) -> None:
        """Appends a record."""
        self._data += record

    def read(self, offset: int, size: int) -> bytes:
        """Returns at most this many bytes."""
        return bytes(self._data[offset : offset + size])

    def sync(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""

    def remove(self) -> None:
        """Gives the memory back."""
        self._data = bytearray()


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
