"""A WebSocket client (RFC 6455) on asyncio streams, as far as the worker protocol needs one.

Text messages in both directions, pings, fragments and the closing handshake; no extensions and no binary messages.
"""

import asyncio
import base64
import hashlib
import os
import socket
import struct
from typing import Awaitable, Callable, Dict, Optional, Tuple

from tasktail._endpoint import Endpoint

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""Size of a received message beyond which the connection is closed."""
HEADER_BYTES_MAX = 32 * 1024
"""Size of the response to the handshake."""
CLOSE_TIMEOUT = 2.0
"""Seconds to wait for the other side's close frame."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_FINAL, _MASKED = 0x80, 0x80

Dial = Callable[[Endpoint], Awaitable[Tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Opens a connection to a server."""


class Rejected(Exception):
    """The server answered the handshake with another status than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered {status}")
        self.status = status


class Closed(ConnectionError):
    """The server closed the connection, or sent what is not WebSocket."""


def mask(payload: bytes, key: bytes) -> bytes:
    """Returns the payload masked with a key of 4 bytes (RFC 6455, 5.3)."""
    size = len(payload)
    if size == 0:
        return b""
    long_key = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(long_key, "big")).to_bytes(size, "big")


def encode_frame(opcode: int, payload: bytes, key: bytes) -> bytes:
    """Returns a final, masked frame."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", _FINAL | opcode, _MASKED | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", _FINAL | opcode, _MASKED | 126, size)
    else:
        head = struct.pack("!BBQ", _FINAL | opcode, _MASKED | 127, size)
    return head + key + mask(payload, key)


async def dial(endpoint: Endpoint) -> Tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Opens a connection without blocking the event loop."""
    return await asyncio.open_connection(endpoint.host, endpoint.port, ssl=endpoint.tls())


def dial_blocking(timeout: float) -> Dial:
    """Returns a function that opens connections in the calling thread.

    An event loop resolves names in other threads, which an interpreter that is exiting does not start any more.
    """

    async def connect(endpoint: Endpoint) -> Tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.create_connection((endpoint.host, endpoint.port), timeout=timeout)
        sock.setblocking(False)
        name = endpoint.host if endpoint.scheme == "https" else None
        try:
            return await asyncio.open_connection(sock=sock, ssl=endpoint.tls(), server_hostname=name)
        except BaseException:
            sock.close()
            raise

    return connect


class WebSocket:
    """An open connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, endpoint: Endpoint, path: str, connect: Dial = dial) -> "WebSocket":
        """Opens a connection and upgrades it.

        Raises:
            Rejected: the server refused the upgrade.
            OSError: the server cannot be reached.
        """
        reader, writer = await connect(endpoint)
        try:
            await _upgrade(endpoint, path, reader, writer)
        except BaseException:
            writer.close()
            raise
        return cls(reader, writer)

    async def send(self, text: bytes) -> None:
        """Sends a text message, and waits until the system has accepted most of it."""
        self._write(_TEXT, text)
        await self._writer.drain()

    async def receive(self) -> bytes:
        """Returns the next text message, and answers pings in between.

        Raises:
            Closed: the connection has ended.
        """
        message: Optional[bytearray] = None
        try:
            while True:
                opcode, final, payload = await self._frame()
                if opcode == _PING:
                    self._write(_PONG, payload)
                elif opcode == _CLOSE:
                    raise Closed(_close_reason(payload))
                elif opcode in (_TEXT, _BINARY, _CONTINUATION):
                    if (message is None) == (opcode == _CONTINUATION):
                        raise Closed("it sent a fragment out of order")
                    message = bytearray() if message is None else message
                    message += payload
                    if len(message) > MESSAGE_BYTES_MAX:
                        raise Closed("it sent a message that is too large")
                    if final:
                        return bytes(message)
        except asyncio.IncompleteReadError:
            raise Closed("the connection ended") from None

    async def close(self, code: int = 1000) -> None:
        """Closes the connection, after the other side's close frame if it comes soon."""
        try:
            self._write(_CLOSE, struct.pack("!H", code))
            await asyncio.wait_for(self._until_closed(), CLOSE_TIMEOUT)
        except (OSError, asyncio.TimeoutError):
            pass
        self.abort()

    def abort(self) -> None:
        """Closes the connection without the closing handshake."""
        self._writer.close()

    async def _until_closed(self) -> None:
        try:
            while True:
                await self.receive()
        except Closed:
            pass

    def _write(self, opcode: int, payload: bytes) -> None:
        self._writer.write(encode_frame(opcode, payload, os.urandom(4)))

    async def _frame(self) -> Tuple[int, bool, bytes]:
        first, second = await self._reader.readexactly(2)
        size = second & 0x7F
        if first & 0x70 or second & _MASKED:
            raise Closed("it sent what is not WebSocket")
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
        if size > MESSAGE_BYTES_MAX:
            raise Closed("it sent a message that is too large")
        return first & 0x0F, bool(first & _FINAL), await self._reader.readexactly(size)


async def _upgrade(endpoint: Endpoint, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    key = base64.b64encode(os.urandom(16))
    fields: Dict[str, str] = {
        "host": endpoint.authority,
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": key.decode(),
        **endpoint.headers(),
    }
    lines = [f"GET {endpoint.path}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    writer.write("\r\n".join(lines).encode("latin-1"))
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise Closed("the server's answer is not HTTP") from None
    status, *rest = head.decode("latin-1").split("\r\n")
    words = status.split(" ", 2)
    if len(head) > HEADER_BYTES_MAX or len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise Closed("the server's answer is not HTTP")
    if words[1] != "101":
        raise Rejected(int(words[1]))
    answer = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    expected = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()  # noqa: S324
    if answer.get("sec-websocket-accept") != expected:
        raise Closed("the server's answer is not WebSocket")


def _close_reason(payload: bytes) -> str:
    if len(payload) < 2:
        return "it closed the connection"
    (code,) = struct.unpack("!H", payload[:2])
    reason = payload[2:].decode("utf-8", "replace")
    return f"it closed the connection with {code} {reason}".rstrip()
