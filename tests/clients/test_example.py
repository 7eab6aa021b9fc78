"""Tests as an application has them, with the fixture of conftest_example.py."""


def test_a_line_is_read_back(streams):
    id = streams.xadd("task:logs:42", {"line": "Building...", "stream": "stdout"}, maxlen=10000)
    assert streams.xrange("task:logs:42") == [(id, {"line": "Building...", "stream": "stdout"})]


def test_nothing_is_left_of_another_test(streams):
    assert streams.keys() == [] and streams.xlen("task:logs:42") == 0
