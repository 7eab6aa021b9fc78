"""Redis Streams of this test alone, without Redis or a container. Run: pytest, or pytest -n 2."""


def test_lines_come_in_order(tasktail_redis):
    for line in ("Building...", "done"):
        tasktail_redis.xadd("task:logs:42", {"line": line, "stream": "stdout"})
    [[_, entries]] = tasktail_redis.xread({"task:logs:42": "0"}, block=1000)
    assert [fields["line"] for _, fields in entries] == ["Building...", "done"]
