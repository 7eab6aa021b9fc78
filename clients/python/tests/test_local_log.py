import errno
import threading

import pytest

from tasktail import _local_log
from tasktail._line import Line
from tasktail._local_log import SPOOL_BYTES_MIN, Cursor, End, LocalLog
from tasktail._segment import FileSegment

START = Cursor(0, 0, 1)


def line(text):
    return Line("stdout", 0, text)


def read_all(log, cursor=START):
    """Returns the batches after a position."""
    batches = []
    while (batch := log.read(cursor)) is not None:
        batches.append(batch)
        cursor = batch.after
    return batches


def texts(log, cursor=START):
    import json

    return [row["line"] for batch in read_all(log, cursor) for row in json.loads(b"[" + batch.lines + b"]")]


def test_lines_are_read_in_order_and_again_until_they_are_confirmed():
    log = LocalLog()
    for n in range(20_000):
        log.append(line(f"line {n}"))
    batches = read_all(log)
    assert len(batches) > 1
    assert texts(log) == [f"line {n}" for n in range(20_000)]
    log.confirm(batches[0].after)
    assert texts(log, log.confirmed) == [f"line {n}" for n in range(batches[1].first_seq - 1, 20_000)]
    assert log.unconfirmed_lines == 20_000 - batches[1].first_seq + 1


def test_confirmed_space_is_freed(tmp_path):
    log = LocalLog(tmp_path, SPOOL_BYTES_MIN)
    cursor = START
    for n in range(50):
        log.append_all([line("x" * 1000)] * 100)
        batches = read_all(log, cursor)
        cursor = batches[-1].after
        log.confirm(cursor)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < SPOOL_BYTES_MIN, n
    assert log.skipped_lines == 0
    assert log.last_seq == 5000


def test_beyond_the_limit_old_lines_stay_and_new_ones_stay_and_the_middle_is_counted(monkeypatch):
    monkeypatch.setattr(_local_log, "KEPT_LINES_MAX", 10)
    log = LocalLog(None, SPOOL_BYTES_MIN)
    total = 5000
    for n in range(total):
        log.append(line(f"{n} " + "x" * 1000))
    log.finish(End(0, 0, None, False))
    assert not log.is_numbered()
    cursor, found = START, []
    while not log.is_numbered() or log.read(cursor):
        batch = log.read(cursor)
        found += texts_of(batch)
        cursor = batch.after
        log.confirm(cursor)
    marks = [text for text in found if text.startswith("[")]
    numbers = [int(text.split()[0]) for text in found if not text.startswith("[")]
    assert marks == [f"[{log.skipped_lines} messages skipped]"]
    assert numbers == [*range(total - 10 - log.skipped_lines), *range(total - 10, total)]
    assert found.index(marks[0]) == total - 10 - log.skipped_lines
    assert log.last_seq == len(found)


def texts_of(batch):
    import json

    return [row["line"] for row in json.loads(b"[" + batch.lines + b"]")]


def test_with_wait_an_append_blocks_until_there_is_space():
    log = LocalLog(None, SPOOL_BYTES_MIN, overflow="wait")
    done = threading.Event()

    def write():
        for n in range(3000):
            log.append(line(f"{n} " + "x" * 1000))
        done.set()

    threading.Thread(target=write, daemon=True).start()
    cursor, found = START, []
    while not (done.is_set() and log.read(cursor) is None):
        batch = log.read(cursor)
        if batch is not None:
            found += texts_of(batch)
            cursor = batch.after
            assert log.unconfirmed_lines <= SPOOL_BYTES_MIN / 1000
            log.confirm(cursor)
    assert [int(text.split()[0]) for text in found] == list(range(3000))


def test_on_a_full_disk_lines_are_kept_in_memory(monkeypatch):
    log = LocalLog()
    log.append(line("before"))
    assert texts(log) == ["before"]

    def full(self, record):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(FileSegment, "append", full)
    for n in range(1000):
        log.append(line(f"{n} " + "x" * 1000))
    assert [text.split()[0] for text in texts(log)] == ["before", *map(str, range(1000))]


def test_a_log_of_a_killed_process_is_recovered_without_its_torn_line(tmp_path):
    log = LocalLog(tmp_path)
    log.append_all([line(f"line {n}") for n in range(1000)])
    log.sync()
    [path] = tmp_path.glob("*.jsonl")
    with open(path, "ab") as file:
        file.write(b'{"line":"half a')
    found = LocalLog.recover(tmp_path)
    assert texts(found, found.confirmed) == [f"line {n}" for n in range(1000)]
    assert found.last_seq == 1000


@pytest.mark.parametrize("options", [{"bytes_max": 1}, {"overflow": "drop"}])
def test_invalid_options_are_rejected(options):
    with pytest.raises(ValueError, match="must be"):
        LocalLog(**options)
