"""A server for tests: free ports, a temporary folder, gone with its owner."""

import json
import os
import select
import socket
import subprocess
from types import TracebackType
from typing import Any, Optional, Sequence, Type
from urllib.parse import urlsplit

from tasktail._binary import find_binary
from tasktail._endpoint import Endpoint, TasktailError

START_TIMEOUT = 10.0
"""Seconds until the server must have printed its addresses."""
CLEAR_PAGES_MAX = 1000
"""Pages of tasks that `clear` deletes."""
STOP_TIMEOUT = 10.0
"""Seconds until a server that was asked to stop is killed."""


class Server:
    """A running server with data of its own, which are deleted when it stops.

    It stops with `stop`, at the end of a ``with`` statement, or when this process ends, in whatever way.
    """

    http_url: str
    """``http://127.0.0.1:PORT``: pages, HTTP routes and WebSockets."""
    redis_url: str
    """``redis://127.0.0.1:PORT``: for any Redis client."""

    def __init__(self, *args: str, binary: Optional[str] = None) -> None:
        """Starts a server and waits until it accepts connections.

        Args:
            args: further arguments of `tasktail serve`.
            binary: the program, by default `find_binary()`.

        Raises:
            FileNotFoundError: the program is not installed.
            RuntimeError: the server does not start.
        """
        program = binary or find_binary()
        command = [program, "serve", "--ephemeral", "--resp", "127.0.0.1:0", *args]
        # Settings of the user's own server must not apply to this one. Its stdin stays open as long as we live.
        env = {name: value for name, value in os.environ.items() if not name.startswith("TASKTAIL_")}
        env.setdefault("TASKTAIL_LOG", "warn")
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        addresses = self._read_addresses(command)
        self.http_url, self.redis_url = addresses["http"], addresses["redis"]

    def _read_addresses(self, command: Sequence[str]) -> Any:
        out = self._process.stdout
        if out is not None and select.select([out], [], [], START_TIMEOUT)[0]:
            line = out.readline()
            if line:
                return json.loads(line)
        self.stop()
        raise RuntimeError(f"the server did not start; try: {' '.join(command)}")

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint, for requests of one's own."""
        return Endpoint.of(self.http_url)

    def log(self, task: str) -> str:
        """Returns the log of a task as text, and waits for nothing."""
        with self.endpoint.open("GET", f"/api/v1/tasks/{task}/log") as response:
            return response.read().decode()

    def clear(self) -> None:
        """Deletes every task, run and key.

        Raises:
            TasktailError: the server does not answer.
        """
        endpoint = self.endpoint
        for kind in ("tasks", "runs"):
            for _ in range(CLEAR_PAGES_MAX):
                found = endpoint.call("GET", f"/api/v1/{kind}")[kind]
                for item in found:
                    endpoint.call("DELETE", f"/api/v1/{kind}/{item['id']}")
                if not found:
                    break
        redis = urlsplit(self.redis_url)
        with socket.create_connection((redis.hostname or "", redis.port or 0), START_TIMEOUT) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            if connection.recv(64) != b"+OK\r\n":
                raise TasktailError("the server did not delete its keys")

    def stop(self) -> None:
        """Stops the server, and waits until its folder is deleted."""
        process = self._process
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.stop()
