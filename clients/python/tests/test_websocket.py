import asyncio
import struct
import subprocess

import pytest
from conftest import LastingServer

import tasktail
from tasktail._endpoint import Endpoint
from tasktail._websocket import Closed, Rejected, WebSocket, _upgrade, encode_frame, mask


def test_frames_are_those_of_the_rfc():
    # RFC 6455, section 5.7.
    assert encode_frame(1, b"Hello", bytes.fromhex("37fa213d")).hex() == "818537fa213d7f9f4d5158"
    assert encode_frame(1, b"", b"abcd") == b"\x81\x80abcd"
    for size, head in ((125, b"\x81\xfd"), (126, b"\x81\xfe\x00\x7e"), (65536, b"\x81\xff" + struct.pack("!Q", 65536))):
        frame = encode_frame(1, b"x" * size, b"abcd")
        assert frame.startswith(head + b"abcd")
        assert mask(frame[len(head) + 4 :], b"abcd") == b"x" * size


def receive(data, messages=1):
    """Returns what a client receives from these bytes, and what it answers."""

    class Writer:
        sent = b""

        def write(self, frame):
            self.sent += frame

        def close(self):
            pass

    async def main():
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        writer = Writer()
        socket = WebSocket(reader, writer)
        return [await socket.receive() for _ in range(messages)], writer.sent

    return asyncio.run(main())


def test_fragments_are_joined_and_pings_between_them_answered():
    data = (
        b"\x01\x03Hel" + b"\x89\x04ping" + b"\x80\x02lo" + b"\x81\x00" + b"\x8a\x00" + b"\x81\x7e\x00\x80" + b"y" * 128
    )
    found, sent = receive(data, 3)
    assert found == [b"Hello", b"", b"y" * 128]
    assert sent[:2] == b"\x8a\x84"
    assert mask(sent[6:], sent[2:6]) == b"ping"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ended"),
        (b"\x81\x05Hel", "ended"),
        (b"\x88\x00", "closed the connection"),
        (b"\x88\x09" + struct.pack("!H", 1001) + b"restart", "closed the connection with 1001 restart"),
        (b"\x80\x01x", "out of order"),
        (b"\x01\x01x\x81\x01x", "out of order"),
        (b"\xc1\x01x", "not WebSocket"),
        (b"\x81\x81abcdx", "not WebSocket"),
        (b"\x81\x7f" + struct.pack("!Q", 1 << 40), "too large"),
    ],
)
def test_an_invalid_message_closes_the_connection(data, reason):
    with pytest.raises(Closed, match=reason):
        receive(data)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 426 Upgrade Required\r\n\r\n", Rejected),
        (b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: wrong\r\n\r\n", Closed),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Closed),
        (b"HTTP/1.1 101", Closed),
        (b"x" * 100_000, Closed),
    ],
)
def test_a_handshake_that_fails(answer, error):
    class Writer:
        def write(self, data):
            pass

    async def main():
        reader = asyncio.StreamReader()
        reader.feed_data(answer)
        reader.feed_eof()
        await _upgrade(Endpoint.of("http://x"), "/", reader, Writer())

    with pytest.raises(error):
        asyncio.run(main())


def test_endpoints(monkeypatch):
    monkeypatch.delenv("TASKTAIL_URL", raising=False)
    assert Endpoint.of().url == "http://127.0.0.1:7117"
    assert Endpoint.of("https://logs.example/below/").url == "https://logs.example/below"
    assert Endpoint.of("http://[::1]:80").url == "http://[::1]"
    monkeypatch.setenv("TASKTAIL_TOKEN", "tt_x")
    assert Endpoint.of("http://x").headers() == {"authorization": "Bearer tt_x"}
    with pytest.raises(ValueError, match="must be like"):
        Endpoint.of("logs.example:7117")


def test_a_worker_uses_tls_and_trusts_only_the_named_authority(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(make, check=True, capture_output=True)
    server = LastingServer(tmp_path, "--tls-cert", str(cert), "--tls-key", str(key))
    server.start()
    url = server.url.replace("http", "https")
    try:
        with tasktail.task("tls", url=url, ca_file=str(cert)) as task:
            for n in range(2000):
                task.line(f"line {n}")
        assert task.delivery.complete, task.delivery
        endpoint = Endpoint.of(url, ca_file=str(cert))
        assert endpoint.call("GET", "/api/v1/tasks/tls")["integrity"]["state"] == "complete"
        with tasktail.task("tls-2", url=url, end_timeout=0.5) as task:
            task.line("x")
        assert "certificate" in task.delivery.reason.lower()
    finally:
        server.kill()
