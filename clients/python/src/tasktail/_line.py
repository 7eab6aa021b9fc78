"""One line of a log, as a worker sends it."""

import json
import struct
import time
from typing import Iterable, Iterator, NamedTuple, Optional

LINE_BYTES_MAX = 64 * 1024
"""Length at which a line is split into pieces (a constant of the protocol)."""
STREAMS = ("stdout", "stderr", "internal")
"""The channels of a line."""

try:
    from xxhash import xxh3_128_intdigest
except ImportError:
    xxh3_128_intdigest = None  # type: ignore[assignment]

_HEAD = struct.Struct("<QIQBB").pack
_encode = json.JSONEncoder(ensure_ascii=False).encode


class Line(NamedTuple):
    """A line of at most `LINE_BYTES_MAX` bytes, without a newline."""

    stream: str
    """``stdout``, ``stderr`` or ``internal``."""
    time_ms: int
    """Milliseconds since 1970."""
    text: str
    partial: bool = False
    """It was split, and continues in the next line."""
    lossy: bool = False
    """Characters that cannot be stored were replaced."""

    def encode(self) -> bytes:
        """Returns the line as a JSON object, with a newline."""
        flags = (',"partial":true' if self.partial else "") + (',"lossy":true' if self.lossy else "")
        text = (
            f'{{"line":{_encode(self.text)},"timestamp":"{timestamp(self.time_ms)}","stream":"{self.stream}"{flags}}}\n'
        )
        return text.encode()


class Checksum:
    """The sum of the XXH3-128 hashes of the lines of a session; see `src/model/integrity/mod.rs`."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, seq: int, lines: Iterable[Line]) -> None:
        """Adds lines that are numbered from `seq`; does nothing without the package `xxhash`."""
        if xxh3_128_intdigest is None:
            return
        total = self._sum
        for stream, time_ms, text, partial, lossy in lines:
            # The zero is the number of the piece: a worker numbers each piece as a line.
            head = _HEAD(seq, 0, time_ms, STREAMS.index(stream), partial + 2 * lossy)
            total += xxh3_128_intdigest(head + text.encode())
            seq += 1
        self._sum = total & ((1 << 128) - 1)

    def text(self) -> Optional[str]:
        """Returns the checksum as the end message has it; None without the package `xxhash`."""
        return None if xxh3_128_intdigest is None else f"xxh3-128-sum:{self._sum:032x}"


_second = (0, "")


def timestamp(time_ms: int) -> str:
    """Returns a time as RFC 3339 in UTC."""
    global _second
    seconds, millis = divmod(time_ms, 1000)
    known, text = _second
    if known != seconds or not text:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        _second = (seconds, text)
    return f"{text}.{millis:03d}Z"


def now_ms() -> int:
    """Returns the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def lines_of(text: str, stream: str, time_ms: int) -> Iterator[Line]:
    """Yields the lines of a text: split at newlines and at `LINE_BYTES_MAX`, with storable characters only."""
    if text.endswith("\n"):
        text = text[:-1]
    for part in text.split("\n") if "\n" in text else (text,):
        part, lossy = storable(part)
        if len(part) * 4 <= LINE_BYTES_MAX:
            yield Line(stream, time_ms, part, False, lossy)
        else:
            yield from _pieces(part.encode(), stream, time_ms, lossy)


def storable(text: str) -> "tuple[str, bool]":
    """Returns the text with U+FFFD in place of NUL and of what is not Unicode, and whether there was any."""
    lossy = False
    try:
        text.encode()
    except UnicodeEncodeError:
        # Bytes that Python escaped are decoded again together; what remains are lone surrogates.
        text = text.encode("utf-8", "surrogateescape" if _is_escaped(text) else "replace").decode("utf-8", "replace")
        lossy = True
    if "\0" in text:
        text, lossy = text.replace("\0", "\ufffd"), True
    return text, lossy


def _is_escaped(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _pieces(data: bytes, stream: str, time_ms: int, lossy: bool) -> Iterator[Line]:
    start = 0
    while len(data) - start > LINE_BYTES_MAX:
        end = start + LINE_BYTES_MAX
        while data[end] & 0xC0 == 0x80:
            end -= 1
        yield Line(stream, time_ms, data[start:end].decode(), True, lossy)
        start = end
    yield Line(stream, time_ms, data[start:].decode(), False, lossy)
