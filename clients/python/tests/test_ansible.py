import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from tasktail import EventLog
from tasktail.ansible import callback_plugins

pytest.importorskip("ansible")


def play(tmp_path, **env):
    settings = {
        "ANSIBLE_CALLBACK_PLUGINS": callback_plugins(),
        "ANSIBLE_CALLBACKS_ENABLED": "tasktail_events",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "HOME": str(tmp_path),
    }
    program = str(Path(sys.executable).parent / "ansible-playbook")
    command = [sys.executable, program, "-i", "localhost,", str(ROOT / "examples/ansible/site.yml")]
    done = subprocess.run(command, env={**os.environ, **settings, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DEPRECATION" not in done.stderr, done.stderr
    return done


def check(events):
    assert [(event["event_type"], event.get("step_id")) for event in events] == [
        ("run.started", None),
        ("step.started", "prepare"),
        ("step.completed", "prepare"),
        ("step.started", "benchmark"),
        ("step.failed", "benchmark"),
        ("step.started", "secret"),
        ("step.failed", "secret"),
        ("step.started", "not today"),
        ("step.skipped", "not today"),
        ("run.completed", None),
    ]
    assert len({event["event_id"] for event in events}) == len(events)
    assert events[2]["host"] == "localhost"
    assert events[2]["changed"]
    assert "non-zero return code" in events[4]["reason"]
    assert events[6]["reason"] == "hidden by no_log"
    assert events[-1]["hosts"]["localhost"]["ok"] >= 1


def test_example_with_a_file(tmp_path):
    path = tmp_path / "site/events.jsonl"
    assert "tasktail_events" not in play(tmp_path, TASKTAIL_EVENTS=str(path)).stderr
    events = EventLog(path).read_all()
    check(events)
    assert {event["run_id"] for event in events} == {"site"}


def test_example_with_a_run_at_a_server(tmp_path, tasktail_url):
    play(tmp_path, TASKTAIL_RUN="ansible-site")
    log = EventLog(run="ansible-site")
    check(log.read_all())
    [run] = [run for run in log._log._endpoint.call("GET", "/api/v1/runs")["runs"] if run["id"] == "ansible-site"]
    assert run["status"] == "done"


def test_without_a_server_the_playbook_continues(monkeypatch):
    monkeypatch.syspath_prepend(callback_plugins())
    module = importlib.import_module("tasktail_events").CallbackModule()
    module._log = EventLog(run="x", url="http://127.0.0.1:9")
    warnings = []
    monkeypatch.setattr(module._display, "warning", warnings.append)
    module._write("start", event_type="run.started")
    assert "an event was not written: the server at http://127.0.0.1:9 does not answer" in warnings[0]
    # Another execution has other ids.
    assert type(module)()._execution != module._execution
