import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import ROOT, python, wait_until

import tasktail


def accepts(url):
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_stopped_server_removes_its_data(monkeypatch, tmp_path):
    # Settings of the user's own server do not apply.
    monkeypatch.setenv("TASKTAIL_LISTEN", "127.0.0.1:1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with tasktail.Server() as server:
        assert accepts(server.http_url)
        assert accepts(server.redis_url)
        assert len(list(tmp_path.iterdir())) == 1
    assert not accepts(server.http_url)
    assert not accepts(server.redis_url)
    assert list(tmp_path.iterdir()) == []
    server.stop()


OWNER = """
import sys, tasktail
server = tasktail.Server()
print(server.http_url, flush=True)
sys.stdin.read()
"""


def test_a_server_ends_with_its_killed_owner(tmp_path):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    url = owner.stdout.readline().decode().strip()
    assert accepts(url)
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    wait_until(lambda: not accepts(url))
    wait_until(lambda: list(tmp_path.iterdir()) == [])


def test_a_cleared_server_is_like_a_new_one(tasktail_server, tasktail_url):
    for number in range(3):
        with tasktail.task("cleared") as task:
            task.line(f"{number}")
    tasktail.Worker("running").detach()
    tasktail.EventLog(run="cleared").append(event_type="x")
    tasktail_server.clear()
    endpoint = tasktail_server.endpoint
    assert endpoint.call("GET", "/api/v1/tasks")["tasks"] == []
    assert endpoint.call("GET", "/api/v1/runs")["runs"] == []
    with tasktail.task("cleared") as task:
        task.line("anew")
    assert task.task == "cleared"


def test_a_program_that_is_missing_or_fails_is_reported(monkeypatch, tmp_path):
    with pytest.raises(RuntimeError, match="did not start"):
        tasktail.Server("--no-such-option")
    monkeypatch.delenv("TASKTAIL_BIN")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="install the wheel"):
        tasktail.find_binary()
    program = tmp_path / "tasktail"
    program.touch(mode=0o755)
    assert tasktail.find_binary() == str(program)


def test_the_program_runs_as_a_module():
    done = python("-m", "tasktail", "--version")
    assert done.stdout.startswith("tasktail "), done.stderr


def test_example_with_pytest_and_xdist(tmp_path):
    # Entry points come with an installed wheel; here the plugin is named.
    options = ["-q", "-p", "tasktail.pytest_plugin", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    example = ROOT / "examples/pytest_streams"
    alone = python("-m", "pytest", *options, example)
    assert "1 passed" in alone.stdout, alone.stdout + alone.stderr
    test = tmp_path / "test_servers.py"
    test.write_text(
        """
import os, pytest
@pytest.mark.parametrize("n", range(4))
def test_server(tasktail_server, tasktail_redis, tasktail_url, n):
    with open("SEEN", "a") as file:
        file.write(f"{os.environ['PYTEST_XDIST_WORKER']} {tasktail_url} {tasktail_server.pid}\\\\n")
    assert os.environ["TASKTAIL_URL"] == tasktail_url == tasktail_server.http_url
    assert tasktail_redis.keys() == []
    tasktail_redis.xadd("task:logs:left", {"line": "x"})
""".replace("SEEN", str(tmp_path / "seen")).replace("\\\\n", "\\n")
    )
    spread = python("-m", "pytest", *options, "-n", "2", "--dist", "load", test, example)
    assert "5 passed" in spread.stdout, spread.stdout + spread.stderr
    seen = {tuple(line.split()) for line in (tmp_path / "seen").read_text().splitlines()}
    workers = {worker for worker, _, _ in seen}
    assert len(seen) == len(workers), "one server for each worker"
    assert workers <= {"gw0", "gw1"}
    assert not any(accepts(url) for _, url, _ in seen)
    assert not any(Path(f"/proc/{pid}").exists() for _, _, pid in seen)
