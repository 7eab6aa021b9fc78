import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
os.environ.setdefault("TASKTAIL_BIN", str(ROOT.parents[1] / "target/debug/tasktail"))
os.environ["PYTHONPATH"] = str(ROOT / "src")
sys.path.insert(0, str(ROOT / "src"))

pytest_plugins = ["pytester", "tasktail.pytest_plugin"]

from tasktail._endpoint import Endpoint, TasktailError  # noqa: E402

WAIT_MAX = 30.0


def wait_until(condition, timeout=WAIT_MAX):
    """Returns the first true value of the condition."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("the condition did not become true")


def lines_of(url, task):
    """Returns the whole log of a task: channel and text of each line."""
    found = Endpoint.of(url).call("GET", f"/api/v1/tasks/{task}/lines", {"limit": 10000})
    return [(line["stream"], line["line"]) for line in found["lines"]]


def details(url, task):
    """Returns a task, or None if it is not there."""
    try:
        return Endpoint.of(url).call("GET", f"/api/v1/tasks/{task}")
    except TasktailError as error:
        if error.code != "not_found":
            raise
        return None


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class LastingServer:
    """A server with a data folder and a port of its own that can be killed and started again."""

    def __init__(self, folder, *args):
        self.folder, self.args, self.process = folder, args, None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [os.environ["TASKTAIL_BIN"], "serve", "--listen", f"127.0.0.1:{self.port}"]
        env = {**os.environ, "TASKTAIL_LOG": "warn", "HOME": str(self.folder)}
        command += ["--data", str(self.folder / "data"), *self.args]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=env)
        assert self.process.stdout.readline().startswith(b"listening on")
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def lasting_server(tmp_path):
    server = LastingServer(tmp_path)
    yield server
    if server.process is not None:
        server.kill()


def python(*args, cwd=None, **env):
    """Runs a Python program, and returns its result with stdout and stderr as text."""
    return subprocess.run(
        [sys.executable, *map(str, args)],
        env={**os.environ, **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )
