"""Writes and reads the events of a run, in a file or at a server."""

import json
import sys

from tasktail import EventLog

log = EventLog(sys.argv[1]) if len(sys.argv) > 1 else EventLog(run="bench-7")
log.append(event_type="run.started", new_state="running", actor="runner", attempt=0)
log.append(event_type="gate.failed", step_id="phase_benchmark", reason="Accuracy 95.2% below threshold 97%")
log.append(event_type="run.completed", new_state="failed", reason=None)

failures = [event for event in log.tail(20) if event["event_type"].endswith(".failed")]
print("failures:", [event["reason"] for event in failures])
with log.stream() as lines:
    for line in lines:
        event = json.loads(line)
        print(f"{event['event_type']}: {event.get('step_id', 'run')}")
print("final state:", log.read_all()[-1]["new_state"])
