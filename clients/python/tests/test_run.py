import os
import subprocess
import sys
import tempfile

import pytest
from conftest import ROOT, details, lines_of, python, wait_until

import tasktail
from tasktail import run_streamed


def test_it_returns_what_subprocess_run_returns(tasktail_url):
    command = ["sh", "-c", "cat; echo err >&2; exit 3"]
    done = run_streamed(command, task="same", input="in\n", capture_output=True, text=True)
    expected = subprocess.run(command, input="in\n", capture_output=True, text=True)
    assert (done.args, done.returncode, done.stdout, done.stderr) == (command, 3, expected.stdout, expected.stderr)
    assert isinstance(done, subprocess.CompletedProcess)
    assert (done.task, done.delivery.complete) == ("same", True)
    assert sorted(lines_of(tasktail_url, "same")) == [("stderr", "err"), ("stdout", "in")]
    found = details(tasktail_url, "same")
    assert (found["command"], found["exit_code"], found["integrity"]["state"]) == (command, 3, "complete")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run_streamed(command, capture_output=True, check=True)
    assert (failed.value.returncode, failed.value.stderr) == (3, b"err\n")


def test_lines_are_there_while_the_command_runs(tasktail_url):
    read, write = os.pipe()
    command = [sys.executable, "-c", "print('started'); import sys; sys.stdin.read(1)"]
    import threading

    runner = threading.Thread(target=run_streamed, args=(command,), kwargs={"task": "live", "stdin": read})
    runner.start()
    assert wait_until(lambda: details(tasktail_url, "live") and lines_of(tasktail_url, "live")) == [
        ("stdout", "started")
    ]
    assert details(tasktail_url, "live")["live"]
    os.write(write, b"x")
    runner.join()
    os.close(write)
    os.close(read)
    assert details(tasktail_url, "live")["exit_code"] == 0


def test_output_is_directed_like_in_subprocess(tasktail_url, capfd):
    run_streamed(["sh", "-c", "echo out; echo err >&2"])
    assert capfd.readouterr() == ("out\n", "err\n")
    run_streamed(["sh", "-c", "echo out; echo err >&2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert capfd.readouterr() == ("", "")
    with tempfile.TemporaryFile() as file:
        done = run_streamed(["sh", "-c", "echo out; echo err >&2"], stdout=file, stderr=subprocess.STDOUT)
        file.seek(0)
        assert file.read() == b"out\nerr\n"
    assert lines_of(tasktail_url, done.task) == [("stdout", "out"), ("stdout", "err")]
    assert done.task.startswith("sh-")


def test_a_killed_command_and_a_timeout(tasktail_url):
    done = run_streamed(["sh", "-c", "kill -TERM $$"], task="terminated")
    assert done.returncode == -15
    assert details(tasktail_url, "terminated")["signal"] == 15
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        run_streamed(["sh", "-c", "echo x; exec sleep 60"], task="slow", timeout=0.5, stdout=subprocess.PIPE)
    assert expired.value.output == b"x\n"
    assert details(tasktail_url, "slow")["status"] == "aborted"
    # A child of the command holds its output open.
    with pytest.raises(subprocess.TimeoutExpired):
        run_streamed(["sh", "-c", "sleep 5 & echo x"], task="held", timeout=0.5, stdout=subprocess.PIPE)


def test_a_command_that_cannot_be_started(tasktail_url):
    with pytest.raises(FileNotFoundError):
        run_streamed(["/no/such/command"], task="missing")
    assert details(tasktail_url, "missing")["exit_code"] == 127
    assert lines_of(tasktail_url, "missing")[0][0] == "internal"


def test_without_a_server_the_command_runs_as_ever(lasting_server):
    done = run_streamed(
        ["echo", "x"], url=lasting_server.url, stdout=subprocess.PIPE, options={"end_timeout": 0.2}, check=True
    )
    assert (done.stdout, done.delivery.complete, done.delivery.undelivered_lines) == (b"x\n", False, 1)


def test_a_large_output_is_complete_and_a_secret_in_a_long_line_is_masked(tasktail_url):
    done = run_streamed(["seq", "50000"], task="large", stdout=subprocess.DEVNULL)
    assert (done.delivery.complete, done.delivery.lines) == (True, 50_000)
    assert details(tasktail_url, "large")["integrity"]["state"] == "complete"
    program = "import sys; sys.stdout.write('é' * 700_001 + 'SECRET-WORD' + 'ü' * 300_000)"
    done = run_streamed(
        [sys.executable, "-X", "utf8", "-c", program],
        task="long",
        capture_output=True,
        options={"masks": ["SECRET-WORD"]},
    )
    found = [text for _, text in lines_of(tasktail_url, "long")]
    assert "".join(found) == "é" * 700_001 + "***" + "ü" * 300_000
    assert b"SECRET-WORD" in done.stdout


def test_the_command_finds_its_task_in_the_environment(tasktail_url):
    done = run_streamed(
        ["sh", "-c", "echo $TASKTAIL_TASK $TASKTAIL_URL $X"], task="env", env={"X": "1"}, stdout=subprocess.PIPE
    )
    assert done.stdout.decode().split() == ["env", tasktail_url, "1"]


def test_example_executor(tasktail_url, tmp_path):
    done = python(ROOT / "examples/executor.py", tmp_path / "log")
    assert done.returncode == 2, done.stderr
    assert lines_of(tasktail_url, "42") == [
        ("internal", "Downloading input artifact foo.dsc"),
        ("stdout", "Building package foo 1.2.3..."),
        ("stdout", "error: no rule"),
        ("internal", "Uploading result artifacts"),
    ]
    assert details(tasktail_url, "42")["exit_code"] == 2
    assert (tmp_path / "log").read_text() == "Building package foo 1.2.3...\nerror: no rule\n"


def test_examples_worker_and_asyncio(tasktail_url):
    for name, task in (("worker.py", "nightly"), ("aio_worker.py", "nightly-aio")):
        done = python(ROOT / "examples" / name)
        assert "complete=True" in done.stdout, done.stderr
        assert ("stdout", "step 3 of 3") in lines_of(tasktail_url, task)
    assert isinstance(tasktail.__all__, list)
