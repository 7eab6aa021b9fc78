import struct

import pytest

from tasktail import _line
from tasktail._line import Checksum, Line, lines_of


def texts(text):
    return [(line.text, line.partial, line.lossy) for line in lines_of(text, "stdout", 0)]


def test_a_text_is_split_at_newlines():
    assert texts("a") == [("a", False, False)]
    assert texts("a\nb\n") == [("a", False, False), ("b", False, False)]
    assert texts("\n") == [("", False, False)]
    assert texts("a\n\n") == [("a", False, False), ("", False, False)]


def test_unstorable_characters_are_replaced_and_marked():
    assert texts("a\0b") == [("a\ufffdb", False, True)]
    assert texts(b"caf\xe9!".decode("utf-8", "surrogateescape")) == [("caf\ufffd!", False, True)]
    assert texts("\ud800") == [("?", False, True)]
    assert texts("é😀\x1b[1m\r") == [("é😀\x1b[1m\r", False, False)]


def test_a_long_line_is_split_between_characters():
    text = "é" * 100_000
    pieces = list(lines_of(text, "stderr", 7))
    assert "".join(piece.text for piece in pieces) == text
    assert [piece.partial for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert all(len(piece.text.encode()) <= _line.LINE_BYTES_MAX for piece in pieces)
    assert len(pieces) == 4


def test_a_line_is_one_row_of_json():
    line = Line("stderr", 1_778_336_581_001, 'a"\n\x1b', True, True)
    expected = b'{"line":"a\\"\\n\\u001b","timestamp":"2026-05-09T14:23:01.001Z","stream":"stderr"'
    assert line.encode() == expected + b',"partial":true,"lossy":true}\n'


@pytest.mark.skipif(_line.xxh3_128_intdigest is None, reason="without the package xxhash")
def test_the_checksum_is_the_one_of_the_server():
    # The value of the test `checksum_matches_its_specification` in src/model/integrity/tests.rs. Its third line is
    # the second piece of a longer one, which a worker never has, and is added by hand.
    checksum = Checksum()
    checksum.add(
        1, [Line("stdout", 1_778_336_581_000, "Building..."), Line("stderr", 1_778_336_581_001, "é\r", True, True)]
    )
    third = _line.xxh3_128_intdigest(struct.pack("<QIQBB", 3, 1, 0, 2, 2))
    total = (int(checksum.text().partition(":")[2], 16) + third) % (1 << 128)
    assert f"{total:032x}" == "29f6b4a43e0fec848bec1ce32a0d3668"
