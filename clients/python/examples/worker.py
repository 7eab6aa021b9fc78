"""Streams a task of this program. Run: tasktail serve, and then python worker.py."""

import tasktail

with tasktail.task("nightly", labels={"site": "north"}) as task:
    task.line("Downloading input artifact foo.dsc", stream="internal")
    for step in range(1, 4):
        task.line(f"step {step} of 3")
    task.line("warning: deprecated function used", stream="stderr")

print(task.delivery)
