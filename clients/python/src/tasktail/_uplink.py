"""Sends a local log to the server, and reconnects as needed.

connect -> hello, task_start -> resume{acked_seq} -> log_lines.. / ack..  -> log_line_end -> ack
   ^                                                        |
   +--------------- pause <------------ lost ---------------+
"""

import asyncio
import collections
import json
import logging
import random
import time
from typing import Any, Deque, Dict, List, NamedTuple, Optional

from tasktail._endpoint import Endpoint
from tasktail._line import timestamp
from tasktail._local_log import Cursor, LocalLog
from tasktail._websocket import Dial, Rejected, WebSocket

PATH = "/ws/v1/worker"
PROTOCOL = 1
CONNECT_TIMEOUT = 10.0
"""Seconds for a connection and its handshake."""
REPLY_TIMEOUT = 30.0
"""Seconds for the answer to `hello` and `task_start`, and for sending one message."""
SILENCE_MAX = 45.0
"""Seconds without any frame, not even a ping, after which the connection is given up: three heartbeats."""
IN_FLIGHT_BYTES_MAX = 4 * 1024 * 1024
"""Bytes that are sent and not confirmed."""
PAUSE_MIN, PAUSE_MAX = 0.1, 5.0
"""Seconds between attempts to connect."""
DENIED_PAUSE = 30.0
"""Seconds between attempts after the server rejected the token, which may be renewed."""
QUIET_OUTAGE = 2.0
"""Seconds of an outage before it is logged: a server that restarts is not worth a message."""
REJECTION_INTERVAL = 5.0
"""Seconds between messages about rejected lines."""
COALESCE = 0.01
"""Seconds for which lines are collected while they come faster than this."""

tracing = logging.getLogger("tasktail")


class Session(NamedTuple):
    """What the server gets to know of a task when it starts."""

    session: str
    command: List[str]
    host: str
    labels: Dict[str, str]
    started_ms: int


class Lost(Exception):
    """The connection was lost; a new one may succeed."""


class Denied(Exception):
    """The server rejected the token."""


class Uplink:
    """The delivery of one task's log. Everything runs in one event loop."""

    def __init__(self, endpoint: Endpoint, task: str, session: Session, log: LocalLog, connect: Dial) -> None:
        self.endpoint = endpoint
        self.task = task
        """Id of the log; it differs from the task's id if that had ended before."""
        self.id = task
        """Id in messages."""
        self.attempt: Optional[str] = None
        self.session = session
        self.log = log
        self.complete = False
        """The server has confirmed every line and the end."""
        self.reason: Optional[str] = None
        """Why the last attempt did not succeed, in words."""
        self.is_connected = False
        """There is a connection on which the task was started."""
        self.was_reached = False
        """There was such a connection."""
        self.final = False
        """No further attempt can succeed."""
        self.stopped = False
        """Set before `run` is cancelled: until Python 3.11, `asyncio.wait_for` loses a cancellation that comes as the
        awaited call ends."""
        self.progress = time.monotonic()
        """When the server last confirmed something."""
        self.rejection_noted = float("-inf")
        """When the last message about a rejected line was logged."""
        self.wake = asyncio.Event()
        """Set when there is something to send."""
        self.confirmed = asyncio.Event()
        """Set when the server has confirmed something."""
        self._connect = connect
        self._outage: Optional[float] = None
        self._outage_noted = False

    async def run(self) -> None:
        """Delivers until everything is confirmed, or nothing more can be delivered. Never raises."""
        pause = PAUSE_MIN
        while not (self.complete or self.final or self.stopped):
            before, attempt = self.log.confirmed.next_seq, self.attempt
            try:
                await self._deliver()
                return
            except Denied as denied:
                self._note(str(denied))
                pause = DENIED_PAUSE
            except Exception as error:  # whatever happens here, the task goes on, and another attempt may succeed
                self._note(str(error) or type(error).__name__)
                again = self.log.confirmed.next_seq > before or self.attempt != attempt
                pause = PAUSE_MIN if again else min(pause * 2, PAUSE_MAX)
            if not (self.final or self.stopped):
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311

    async def _deliver(self) -> None:
        connecting = WebSocket.connect(self.endpoint, PATH, self._connect)
        try:
            socket = await asyncio.wait_for(connecting, CONNECT_TIMEOUT)
        except Rejected as rejected:
            if rejected.status in (401, 403):
                raise Denied(f"the server rejected the access token ({rejected.status})") from rejected
            raise
        connection = _Connection(self, socket)
        try:
            await connection.run()
        except BaseException:
            socket.abort()
            raise
        finally:
            self.is_connected = False
        await socket.close()

    def connected(self) -> None:
        """Records that the task was started or resumed."""
        if self._outage is not None and self._outage_noted:
            seconds = time.monotonic() - self._outage
            tracing.info("task %s: connected to %s after %.0f s", self.task, self.endpoint.url, seconds)
        self._outage, self._outage_noted, self.reason = None, False, None
        self.is_connected = self.was_reached = True

    def task_ended(self) -> None:
        """Asks for another log if the task had ended before; one ended in the meantime accepts nothing more.

        Raises:
            Lost: always, since a new connection starts the other log.
        """
        if self.log.confirmed.next_seq > 1 or self.attempt is not None:
            self.final = True
            raise Lost(f"task {self.task} was ended at the server, which accepts no more lines")
        self.attempt = "new"
        raise Lost(f"task {self.task} has ended before")

    def _note(self, reason: str) -> None:
        now = time.monotonic()
        self.reason = reason
        self._outage = now if self._outage is None else self._outage
        if self.final or (now - self._outage >= QUIET_OUTAGE and not self._outage_noted):
            self._outage_noted = True
            tracing.warning("task %s: not delivered to %s: %s", self.task, self.endpoint.url, reason)


class _Sent(NamedTuple):
    """A batch on its way."""

    last_seq: int
    size: int
    after: Cursor


class _Connection:
    """One connection: a sender, and a receiver beside it."""

    def __init__(self, uplink: Uplink, socket: WebSocket) -> None:
        self._uplink = uplink
        self._log = uplink.log
        self._socket = socket
        self._in_flight: Deque[_Sent] = collections.deque()
        self._in_flight_bytes = 0
        self._end_seq: Optional[int] = None
        self._closed = False

    async def run(self) -> None:
        uplink = self._uplink
        await self._send(type="hello", protocol=PROTOCOL, worker=uplink.session.host)
        await asyncio.wait_for(self._start(), REPLY_TIMEOUT)
        if uplink.stopped:
            raise Lost("the worker was stopped")
        uplink.connected()
        receiver = asyncio.ensure_future(self._receive_all())
        sender = asyncio.ensure_future(self._send_all())
        try:
            done, _ = await asyncio.wait({receiver, sender}, return_when=asyncio.FIRST_COMPLETED)
            for finished in done:
                finished.result()
        finally:
            self._closed = True
            for job in (receiver, sender):
                job.cancel()
            await asyncio.gather(receiver, sender, return_exceptions=True)

    async def _start(self) -> None:
        """Starts or resumes the task."""
        session = self._uplink.session
        await self._send(
            type="task_start",
            work_request_id=self._uplink.id,
            session=session.session,
            command=session.command,
            host=session.host,
            labels=session.labels,
            timestamp=timestamp(session.started_ms),
            **({} if self._uplink.attempt is None else {"attempt": self._uplink.attempt}),
        )
        while True:
            reply = await self._receive()
            if reply.get("type") == "resume":
                # Lines are resent from the last confirmed batch on: the server drops what it has.
                self._uplink.task = str(reply.get("task", self._uplink.id))
                return
            if reply.get("type") == "error":
                self._reject(reply)
                raise Lost(f"the server rejected the task: {reply.get('message')}")

    async def _send_all(self) -> None:
        log, uplink = self._log, self._uplink
        cursor, sent_at = log.confirmed, 0.0
        while not (uplink.complete or uplink.stopped or self._closed):
            uplink.wake.clear()
            batch = log.read(cursor) if self._in_flight_bytes < IN_FLIGHT_BYTES_MAX else None
            if batch is not None:
                head = b'{"type":"log_lines","work_request_id":%s,"first_seq":%d,"lines":[' % (
                    json.dumps(uplink.id).encode(),
                    batch.first_seq,
                )
                cursor = batch.after
                self._in_flight.append(_Sent(cursor.next_seq - 1, len(batch.lines), cursor))
                self._in_flight_bytes += len(batch.lines)
                await asyncio.wait_for(self._socket.send(head + batch.lines + b"]}"), REPLY_TIMEOUT)
                sent_at = time.monotonic()
            elif self._end_seq is None and log.is_numbered() and cursor.next_seq == log.last_seq + 1:
                await self._send_end()
                self._check_complete(0)
            else:
                await uplink.wake.wait()
                # One line is sent at once, and what quickly follows it in one message.
                if not log.is_finished and time.monotonic() - sent_at < COALESCE:
                    await asyncio.sleep(COALESCE)

    async def _send_end(self) -> None:
        end = self._log.end
        count, checksum = self._log.totals()
        if end is None:
            # The task goes on: it is enough that the lines are confirmed.
            self._end_seq = count
            return
        self._end_seq = count + 1
        fields: Dict[str, Any] = {"exit_code": end.exit_code, "signal": end.signal, "hash": checksum}
        if end.aborted:
            fields["status"] = "aborted"
        await self._send(
            type="log_line_end",
            work_request_id=self._uplink.id,
            seq=self._end_seq,
            timestamp=timestamp(end.time_ms),
            count=count,
            **{name: value for name, value in fields.items() if value is not None},
        )

    async def _receive_all(self) -> None:
        while not (self._uplink.complete or self._uplink.stopped or self._closed):
            reply = await asyncio.wait_for(self._receive(), SILENCE_MAX)
            if reply.get("type") == "ack":
                self._confirm(int(reply["seq"]))
            elif reply.get("type") == "error":
                self._reject(reply)

    def _confirm(self, seq: int) -> None:
        uplink = self._uplink
        after = None
        while self._in_flight and self._in_flight[0].last_seq <= seq:
            sent = self._in_flight.popleft()
            self._in_flight_bytes -= sent.size
            after = sent.after
        if after is not None:
            self._log.confirm(after)
        uplink.progress = time.monotonic()
        self._check_complete(seq)
        uplink.confirmed.set()
        uplink.wake.set()

    def _check_complete(self, seq: int) -> None:
        confirmed = max(seq, self._log.confirmed.next_seq - 1)
        self._uplink.complete = self._end_seq is not None and confirmed >= self._end_seq

    def _reject(self, reply: Dict[str, Any]) -> None:
        if reply.get("code") == "task_ended":
            self._uplink.task_ended()
        # The line is missing at the server, which marks the gap; the others are stored.
        now = time.monotonic()
        if now - self._uplink.rejection_noted < REJECTION_INTERVAL:
            return
        self._uplink.rejection_noted = now
        tracing.warning("task %s: the server rejected a message: %s", self._uplink.task, reply.get("message"))

    async def _send(self, **message: Any) -> None:
        await asyncio.wait_for(self._socket.send(json.dumps(message).encode()), REPLY_TIMEOUT)

    async def _receive(self) -> Dict[str, Any]:
        reply = json.loads(await self._socket.receive())
        return reply if isinstance(reply, dict) else {}
