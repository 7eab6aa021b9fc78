import json
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest
from conftest import LastingServer, details, lines_of, python, wait_until

import tasktail
from tasktail._line import xxh3_128_intdigest


def test_a_task_is_streamed_and_complete(tasktail_url):
    with tasktail.task("basic", labels={"site": "north"}, command=["make", "-j8"]) as task:
        task.line("Building...")
        task.line("warning: x\nwarning: y\n", stream="stderr")
        task.line("downloading", stream="internal")
        assert task.flush()
        assert lines_of(tasktail_url, "basic")[0] == ("stdout", "Building...")
        assert details(tasktail_url, "basic")["status"] == "running"
    assert task.delivery == ("basic", True, 4, 0, 0, None)
    found = details(tasktail_url, "basic")
    assert (found["status"], found["exit_code"]) == ("completed", 0)
    assert (found["labels"], found["command"]) == ({"site": "north"}, ["make", "-j8"])
    assert found["integrity"]["state"] == "complete"
    assert (found["integrity"]["said_hash"] is not None) == (xxh3_128_intdigest is not None)
    assert lines_of(tasktail_url, "basic")[1:3] == [("stderr", "warning: x"), ("stderr", "warning: y")]
    assert task.url == f"{tasktail_url}/tasks/basic"


def test_without_xxhash_the_number_of_lines_is_checked(tasktail_url, monkeypatch):
    monkeypatch.setattr("tasktail._line.xxh3_128_intdigest", None)
    with tasktail.task("no-hash") as task:
        task.line("x")
    integrity = details(tasktail_url, "no-hash")["integrity"]
    assert (integrity["state"], integrity["said_lines"], integrity["said_hash"]) == ("complete", 1, None)


def test_any_text_arrives_as_it_is(tasktail_url):
    lines = [
        "",
        " ",
        "\t\x1b[31mred\x1b[0m\r",
        '"quotes" \\ {}',
        "é😀\u2028",
        "<script>alert(1)</script>",
        "x" * 200_000,
    ]
    with tasktail.task("texts") as task:
        for line in lines:
            task.line(line)
        task.line(b"caf\xe9\0")
    found = [text for _, text in lines_of(tasktail_url, "texts")]
    pieces = len(found) - len(lines)
    assert found[:6] == lines[:6]
    assert "".join(found[6 : 7 + pieces - 1]) == lines[6]
    assert found[-1] == "caf\ufffd\ufffd"
    assert details(tasktail_url, "texts")["integrity"]["state"] == "complete"


@pytest.mark.parametrize(
    ("name", "error", "expected"),
    [
        ("raises", ValueError("bad"), ("completed", 1, None)),
        ("exits", SystemExit(3), ("completed", 3, None)),
        ("interrupted", KeyboardInterrupt(), ("aborted", None, 2)),
    ],
)
def test_an_exception_decides_how_the_task_ends(tasktail_url, name, error, expected):
    with pytest.raises(type(error)), tasktail.task(name):
        raise error
    found = details(tasktail_url, name)
    assert (found["status"], found["exit_code"], found["signal"]) == expected
    if name == "raises":
        assert lines_of(tasktail_url, name)[-1] == ("stderr", "ValueError: bad")


def test_a_name_that_has_ended_is_not_written_to_again(tasktail_url):
    for number in range(3):
        with tasktail.task("again") as task:
            task.line(f"run {number}")
        assert task.task == ("again", "again.2", "again.3")[number]
    assert lines_of(tasktail_url, "again.3") == [("stdout", "run 2")]


def test_detached_lines_are_delivered_and_the_task_continues(tasktail_url):
    first = tasktail.Worker("relay")
    first.line("one")
    assert first.detach().complete
    assert details(tasktail_url, "relay")["status"] == "running"
    with tasktail.task("relay") as second:
        second.line("two")
    assert [text for _, text in lines_of(tasktail_url, "relay")] == ["one", "two"]
    assert second.task == "relay"


def test_many_threads_write_to_one_task(tasktail_url):
    with tasktail.task("threads") as task:

        def write(name):
            for n in range(500):
                task.line(f"{name} {n}")

        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = [text.split() for _, text in lines_of(tasktail_url, "threads")]
    for name in "abcd":
        assert [int(n) for who, n in found if who == name] == list(range(500))
    assert details(tasktail_url, "threads")["integrity"]["state"] == "complete"


def test_secrets_are_masked_everywhere(tasktail_url):
    secret = "first line\ns3cret-token"
    with tasktail.task(
        "masked", masks=[secret], command=["x", "--token=s3cret-token"], labels={"a": "s3cret-token"}
    ) as task:
        task.line("with s3cret-token inside")
        task.line("the first line of it")
    assert [text for _, text in lines_of(tasktail_url, "masked")] == ["with *** inside", "the *** of it"]
    found = details(tasktail_url, "masked")
    assert (found["command"], found["labels"]) == (["x", "--token=***"], {"a": "***"})


def test_a_killed_server_loses_and_repeats_nothing(lasting_server):
    lasting_server.start()
    total, written = 9_000, 0
    with tasktail.task("killed", url=lasting_server.url, end_timeout=30) as task:
        for n in range(total):
            task.line(f"line {n}")
            written += 1
            if written in (3_000, 6_000):
                wait_until(lambda: details(lasting_server.url, "killed"))
                lasting_server.kill()
                lasting_server.start()
    assert task.delivery.complete, task.delivery
    found = tasktail.Server.log(_Log(lasting_server.url), "killed").splitlines()
    assert found == [f"line {n}" for n in range(total)]
    assert details(lasting_server.url, "killed")["integrity"]["state"] == "complete"


class _Log:
    def __init__(self, url):
        self.endpoint = tasktail._endpoint.Endpoint.of(url)


def test_lines_wait_for_a_server_that_starts_later(lasting_server):
    with tasktail.task("early", url=lasting_server.url, end_timeout=30) as task:
        task.line("nobody listens")
        lasting_server.start()
    assert task.delivery.complete
    assert lines_of(lasting_server.url, "early") == [("stdout", "nobody listens")]


def test_without_a_server_nothing_fails_and_the_result_has_the_cause(lasting_server, caplog):
    with (
        caplog.at_level(logging.WARNING, "tasktail"),
        tasktail.task("absent", url=lasting_server.url, end_timeout=0.3) as task,
    ):
        task.line("a")
        task.line("b")
    assert (task.delivery.complete, task.delivery.undelivered_lines) == (False, 2)
    assert "refused" in task.delivery.reason
    assert "were not delivered" in caplog.text


def test_a_rejected_token_is_reported(tmp_path):
    server = LastingServer(tmp_path)
    create = [os.environ["TASKTAIL_BIN"], "token", "create", "--data", tmp_path / "data"]
    create += ["--name", "ci", "--scope", "write", "--task", "build-*"]
    token = subprocess.run(
        create, capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(tmp_path)}
    ).stdout
    server.start()
    try:
        with tasktail.task("build-1", url=server.url, token=token.strip()) as good:
            good.line("x")
        with tasktail.task("build-2", url=server.url, token="wrong", end_timeout=1) as bad:
            bad.line("x")
    finally:
        server.kill()
    assert good.delivery.complete
    assert (bad.delivery.complete, "access token (401)" in bad.delivery.reason) == (False, True)


KILLED = """
import os, sys, tasktail
task = tasktail.Worker("spooled", url=sys.argv[1], spool=sys.argv[2])
for n in range(1000):
    task.line(f"line {n}")
task._core.log.sync()
print("written", flush=True)
sys.stdin.read()
"""


def test_a_killed_worker_leaves_its_lines_in_the_spool(lasting_server, tmp_path):
    spool = tmp_path / "spool"
    command = [sys.executable, "-c", KILLED, lasting_server.url, str(spool)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdout.readline() == b"written\n"
    # Its session is in use.
    assert tasktail.send_unsent(spool) == []
    worker.kill()
    worker.communicate()
    [incomplete] = tasktail.send_unsent(spool, end_timeout=0.3)
    assert not incomplete.complete
    lasting_server.start()
    [sent] = tasktail.send_unsent(spool)
    assert (sent.complete, sent.lines) == (True, 1001)
    found = lines_of(lasting_server.url, "spooled")
    assert found[:-1] == [("stdout", f"line {n}") for n in range(1000)]
    assert found[-1][0] == "internal"
    assert "killed" in found[-1][1]
    assert details(lasting_server.url, "spooled")["status"] == "aborted"
    assert tasktail.send_unsent(spool) == []
    assert list((spool / "python").iterdir()) == []


def test_a_spool_is_empty_after_a_delivery_and_private_before(tasktail_url, tmp_path):
    with tasktail.task("with-spool", spool=tmp_path) as task:
        task.line("x")
        task.flush()
        [folder] = (tmp_path / "python").iterdir()
        assert json.loads((folder / "session.json").read_text())["task"] == "with-spool"
        assert folder.stat().st_mode & 0o077 == 0
    assert list((tmp_path / "python").iterdir()) == []


def test_a_program_that_ends_without_an_end_delivers_its_lines(tasktail_url):
    program = "import tasktail; tasktail.Worker('forgotten').line('last words')"
    assert python("-c", program).returncode == 0
    assert lines_of(tasktail_url, "forgotten") == [("stdout", "last words")]
    assert details(tasktail_url, "forgotten")["status"] == "running"


def test_a_forked_child_neither_sends_nor_waits(tasktail_url):
    program = """
import os, tasktail
task = tasktail.Worker("forked")
task.line("parent")
pid = os.fork()
if pid == 0:
    task.line("child")
    task.end()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
task.line("parent again")
assert task.end().complete
"""
    done = python("-W", "ignore", "-c", program)
    assert done.returncode == 0, done.stderr
    assert [text for _, text in lines_of(tasktail_url, "forked")] == ["parent", "parent again"]


@pytest.mark.parametrize(
    "options",
    [{"task": "a/b"}, {"task": ""}, {"task": "x", "url": "ftp://x"}, {"task": "x", "overflow": "no"}],
)
def test_invalid_options_are_rejected_at_once(options):
    with pytest.raises(ValueError, match=r"must (be|have)"):
        tasktail.Worker(**options)
    worker = tasktail.Worker("x", url="http://127.0.0.1:9", end_timeout=0)
    with pytest.raises(ValueError, match="stream"):
        worker.line("x", stream="loud")
    worker.end()


def test_a_signal_during_the_wait_ends_it(lasting_server):
    program = """
import sys, tasktail
task = tasktail.Worker("waiting", url=sys.argv[1], end_timeout=60)
task.line("x")
wait = task._done.wait

def told_wait(timeout=None):
    print("waits", flush=True)
    return wait(timeout)

task._done.wait = told_wait
task.end()
"""
    worker = subprocess.Popen(
        [sys.executable, "-c", program, lasting_server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert worker.stdout.readline() == b"waits\n"
    worker.send_signal(signal.SIGINT)
    _, stderr = worker.communicate(timeout=20)
    assert worker.returncode != 0
    assert b"KeyboardInterrupt" in stderr


def test_the_wait_at_the_end_can_be_cancelled(lasting_server):
    # At any moment of an attempt to connect: asyncio may lose the cancellation of one that just fails.
    program = """
import sys, tasktail
for number in range(40):
    with tasktail.task("gone", url=sys.argv[1], end_timeout=0.02 * (number % 8)) as task:
        task.line("x")
"""
    assert python("-c", program, lasting_server.url).returncode == 0
