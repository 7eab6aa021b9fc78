import json
import subprocess

import pytest
import redis


@pytest.fixture
def streams():
    """Redis Streams of this test's own, gone with it: no Redis and no container needed."""
    command = "tasktail serve --ephemeral --listen 127.0.0.1:0 --resp 127.0.0.1:0"
    with subprocess.Popen(command.split(), stdout=subprocess.PIPE) as server:
        address = json.loads(server.stdout.readline())
        with redis.Redis.from_url(address["redis"], decode_responses=True) as client:
            yield client
        server.terminate()
