import logging

from conftest import ROOT, details, lines_of, python

import tasktail
import tasktail.logging


def test_records_are_lines_with_their_level(tasktail_url):
    logger = logging.getLogger("test_records")
    logger.setLevel(logging.DEBUG)
    handler = tasktail.logging.Handler("records", logging.INFO)
    logger.addHandler(handler)
    logger.debug("not sent")
    logger.info("one %d", 1)
    logger.warning("two\nlines")
    # Our own records are about the log, and would never end.
    logging.getLogger("tasktail").addHandler(handler)
    logging.getLogger("tasktail").error("not sent either")
    logging.getLogger("tasktail").removeHandler(handler)
    logger.removeHandler(handler)
    handler.close()
    assert lines_of(tasktail_url, "records") == [
        ("stdout", "INFO test_records: one 1"),
        ("stderr", "WARNING test_records: two"),
        ("stderr", "lines"),
    ]
    assert details(tasktail_url, "records")["exit_code"] == 0


def test_a_bad_record_does_not_end_the_program(tasktail_url, capsys):
    logger = logging.getLogger("test_bad")
    # The handler of pytest makes such a record an error.
    logger.propagate = False
    with tasktail.task("bad-record") as task:
        handler = tasktail.logging.Handler(task)
        logger.addHandler(handler)
        logger.error("%d", "no number")
        logger.error("good")
        logger.removeHandler(handler)
        # A handler on a worker leaves the end to its owner.
        handler.close()
        task.line("last")
    assert lines_of(tasktail_url, "bad-record") == [("stderr", "ERROR test_bad: good"), ("stdout", "last")]
    assert "no number" in capsys.readouterr().err


def test_example(tasktail_url):
    done = python(ROOT / "examples/log_records.py")
    assert done.returncode == 0, done.stderr
    found = lines_of(tasktail_url, "report")
    assert found[:2] == [("stdout", "INFO root: reading 3 files"), ("stderr", "ERROR root: a file is incomplete")]
    assert found[-1] == ("stderr", "KeyError: 'missing'")
    assert details(tasktail_url, "report")["exit_code"] == 0


def test_an_uncaught_exception_is_the_end_of_the_log(tasktail_url):
    program = "import logging, tasktail.logging as t; logging.getLogger().addHandler(t.Handler('crashed')); 1 / 0"
    assert python("-c", program).returncode == 1
    assert lines_of(tasktail_url, "crashed")[-1] == ("stderr", "ZeroDivisionError: division by zero")
    assert details(tasktail_url, "crashed")["exit_code"] == 1
