import os
import subprocess
import sys

import pytest
from conftest import ROOT, details, lines_of, wait_until

pytest.importorskip("celery")

EXAMPLES = str(ROOT / "examples")


@pytest.fixture(scope="module", params=["solo", "prefork"])
def celery(request, tasktail_server, tmp_path_factory):
    """The example with a real worker: its module, and the way to call its tasks."""
    folder = tmp_path_factory.mktemp("celery")
    env = {**os.environ, "BROKER_FOLDER": str(folder / "broker"), "TASKTAIL_URL": tasktail_server.http_url}
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "celery_app",
        "worker",
        "-l",
        "info",
        "-P",
        request.param,
        "-c",
        "1",
    ]
    with open(folder / "worker.log", "wb") as log:
        worker = subprocess.Popen(command, cwd=EXAMPLES, env=env, stdout=log, stderr=log)

    def call(name, *args):
        program = f"import celery_app, json, sys; print(celery_app.{name}.delay(*{args!r}).id)"
        done = subprocess.run([sys.executable, "-c", program], cwd=EXAMPLES, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    yield tasktail_server.http_url, call
    worker.terminate()
    worker.wait(30)


def wait_for_end(url, task):
    def ended():
        found = details(url, task)
        return found if found and found["status"] != "running" else None

    return wait_until(ended, 60)


def test_logged_and_printed_lines_are_the_log_of_a_task(celery):
    url, call = celery
    task = call("build", "foo")
    found = wait_for_end(url, task)
    assert (found["status"], found["exit_code"], found["labels"]) == ("completed", 0, {"celery": "celery_app.build"})
    assert lines_of(url, task)[:3] == [
        ("stdout", "INFO celery_app: Building package foo..."),
        ("stdout", "copied 3 files"),
        ("stderr", "WARNING celery_app: deprecated function used"),
    ]
    assert found["integrity"]["state"] == "complete"


def test_a_failed_task_ends_with_its_traceback(celery):
    url, call = celery
    task = call("fail")
    assert wait_for_end(url, task)["exit_code"] == 1
    found = lines_of(url, task)
    assert ("stdout", "INFO celery_app: starting") in found
    assert ("stderr", "RuntimeError: the disk is full") in found


def test_a_retried_task_continues_its_log(celery):
    url, call = celery
    task = call("retry_once")
    assert wait_for_end(url, task)["exit_code"] == 0
    found = lines_of(url, task)
    assert ("stdout", "INFO celery_app: attempt 0") in found
    assert ("stdout", "INFO celery_app: attempt 1") in found
    assert any(stream == "internal" and "retried" in text for stream, text in found)


def test_records_are_sent_once_and_options_apply(tasktail_url):
    import logging

    from celery import Celery
    from celery.utils.log import get_task_logger

    import tasktail.celery

    app = Celery("here", broker="memory://")
    app.conf.task_always_eager = True
    logger = get_task_logger("here")
    logger.setLevel(logging.INFO)

    @app.task
    def work(name):
        logger.info("token s3cret")
        logging.getLogger("tasktail.other").warning("a name of ours")

    tasktail.celery.setup(
        task_id=lambda task, task_id, args, kwargs: None if args[0] == "silent" else f"work-{args[0]}",
        masks=["s3cret"],
        format="%(message)s",
    )
    try:
        work.delay("one")
        work.delay("silent")
        logger.info("outside of a task")
    finally:
        tasktail.celery.teardown()
    work.delay("two")
    assert [text for _, text in lines_of(tasktail_url, "work-one")] == ["token ***", "a name of ours"]
    assert details(tasktail_url, "work-one")["exit_code"] == 0
    assert details(tasktail_url, "work-silent") is None
    assert details(tasktail_url, "work-two") is None
