"""An application as it stands before tasktail: a task's output in a Redis stream, and a page's
thread that reads it as it comes. It knows nothing of tasktail; only REDIS_URL says where.

Once everything is read it waits for a line on stdin, then tidies up.
"""

import os
import sys
import threading

import redis

TASK = "task:logs:42"
LINES = 300

url = os.environ["REDIS_URL"]
r = redis.Redis.from_url(url, decode_responses=True)


def viewer():
    """What a page does: everything from the start, then whatever comes."""
    seen = redis.Redis.from_url(url, decode_responses=True)
    last = "0"
    while True:
        for _, entries in seen.xread({TASK: last}, block=0):
            for last, entry in entries:
                print(f"{entry['timestamp']} {entry['stream']}: {entry['line']}")
                if entry["stream"] == "internal":
                    return


def write(line, stream="stdout"):
    entry = {"line": line, "timestamp": "2026-05-09T14:23:01+00:00", "stream": stream}
    r.xadd(TASK, entry, maxlen=10000, approximate=True)
    r.expire(TASK, 86400)


reader = threading.Thread(target=viewer, daemon=True)
reader.start()
for n in range(1, LINES + 1):
    write(f"Building {n} of {LINES}…", "stderr" if n % 10 == 0 else "stdout")
write("[exit code 0]", "internal")
reader.join()

print("length", r.xlen(TASK), "type", r.type(TASK), "expires", r.ttl(TASK) > 86000)
print("first", r.xrange(TASK, count=1)[0][1]["line"], "last", r.xrevrange(TASK, count=1)[0][1]["line"])
print("all read", flush=True)
sys.stdin.readline()
print("deleted", r.delete(TASK), "exists", r.exists(TASK), "ttl", r.ttl(TASK), "left", r.xrange(TASK))
