import json
import os
import subprocess
import threading

import pytest
from conftest import ROOT, python

from tasktail import EventLog, TasktailError


@pytest.fixture(params=["file", "run"])
def log(request, tmp_path, tasktail_url):
    if request.param == "file":
        return EventLog(tmp_path / "runs/bench/events.jsonl")
    return EventLog(run=f"run-{os.path.basename(tmp_path)}")


def test_events_are_appended_and_read_back(log):
    assert log.read_all() == []
    assert log.tail(3) == []
    stored = [log.append({"event_type": "step.started", "step_id": f"s{n}"}, reason=None) for n in range(30)]
    assert all(event["event_id"] and event["timestamp_utc"] and "reason" not in event for event in stored)
    assert {(event["run_id"], event["actor"], event["attempt"]) for event in stored} == {(log.run, "python", 0)}
    found = log.read_all()
    assert [event["event_id"] for event in found] == [event["event_id"] for event in stored]
    assert [event["step_id"] for event in log.tail(3)] == ["s27", "s28", "s29"]
    assert len(log.tail(100)) == 30
    with log.stream() as lines:
        assert [json.loads(line)["step_id"] for line in lines] == [f"s{n}" for n in range(30)]


def test_a_stream_follows_the_log(log):
    log.append(event_type="a")
    with log.stream(follow=True) as lines:
        assert json.loads(next(lines))["event_type"] == "a"
        threading.Timer(0.2, lambda: log.append(event_type="b", text="x" * 1000)).start()
        assert json.loads(next(lines))["event_type"] == "b"


@pytest.mark.parametrize("event", [{}, {"host": "a"}, {"event_type": "x", "value": float("nan")}, {"event_type": b"x"}])
def test_non_events_are_rejected(log, event):
    with pytest.raises(ValueError, match="event"):
        log.append(event)
    assert log.read_all() == []


def test_a_benchmark_event_is_an_event(log):
    log.append(host="web1", workload="fio", repetition=1, status="running")
    assert log.read_all()[0]["workload"] == "fio"


def test_events_of_a_run_are_stored_once(tasktail_url):
    log = EventLog(run="once")
    for _ in range(3):
        log.append(event_type="x", event_id="same")
    assert [event["event_id"] for event in log.read_all()] == ["same"]


def test_many_pages_are_read(tasktail_url, monkeypatch):
    monkeypatch.setattr("tasktail._events.PAGE_EVENTS", 7)
    log = EventLog(run="pages")
    for n in range(30):
        log.append(event_type="x", number=n)
    assert [event["number"] for event in log.read_all()] == list(range(30))


def test_a_missing_server_is_an_error():
    with pytest.raises(TasktailError, match="does not answer"):
        EventLog(run="x", url="http://127.0.0.1:9").append(event_type="x")
    with pytest.raises(ValueError, match="path"):
        EventLog()


def test_torn_lines_affect_only_themselves(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event_type":"a"}\n\nnot json\n[1]\n{"event_type":"torn"')
    log = EventLog(path)
    assert [event["event_type"] for event in log.read_all()] == ["a"]
    log.append(event_type="b")
    path.write_bytes(path.read_bytes() + b'{"event_type":"complete but without newline"}')
    assert [event["event_type"] for event in log.read_all()] == ["a", "b", "complete but without newline"]
    assert [event["event_type"] for event in log.tail(2)] == ["b", "complete but without newline"]


def test_tail_reads_only_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("tasktail._events.BLOCK_BYTES", 100)
    log = EventLog(tmp_path / "events.jsonl")
    for n in range(100):
        log.append(event_type="x", number=n, text="é" * n)
    assert [event["number"] for event in log.tail(5)] == [95, 96, 97, 98, 99]


def test_a_rotated_file_is_followed(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.append(event_type="old")
    with log.stream(follow=True) as lines:
        assert json.loads(next(lines))["event_type"] == "old"
        (tmp_path / "events.jsonl").rename(tmp_path / "events.1")
        log.append(event_type="new")
        assert json.loads(next(lines))["event_type"] == "new"


def test_several_processes_append_together_with_the_program(tmp_path):
    path = tmp_path / "events.jsonl"
    program = f"""
from tasktail import EventLog
log = EventLog({str(path)!r})
for n in range(200):
    log.append(event_type="x", text="y" * 5000)
"""
    threads = [threading.Thread(target=python, args=("-c", program)) for _ in range(3)]
    for thread in threads:
        thread.start()
    record = [os.environ["TASKTAIL_BIN"], "events", "record", "--stdin", str(path)]
    event = b'{"event_type":"from the program"}\n'
    done = subprocess.run(record, input=event * 50, capture_output=True)
    for thread in threads:
        thread.join()
    assert done.returncode == 0, done.stderr
    assert len(EventLog(path).read_all()) == len(path.read_text().splitlines()) == 650


def test_example(tmp_path, tasktail_url):
    for args in ([tmp_path / "events.jsonl"], []):
        done = python(ROOT / "examples/event_log.py", *args)
        assert done.stdout.splitlines() == [
            "failures: ['Accuracy 95.2% below threshold 97%']",
            "run.started: run",
            "gate.failed: phase_benchmark",
            "run.completed: run",
            "final state: failed",
        ], done.stderr
