"""Writes the events of a playbook to an `events.jsonl` or to a run at a tasktail server."""

import os
import uuid
from typing import Any, Dict, Optional

from ansible.plugins.callback import CallbackBase

from tasktail import EventLog

DOCUMENTATION = """
    name: tasktail_events
    type: notification
    short_description: writes an event for the playbook, each task and each result
    description:
      - Each event has an id that is unique to what it reports, so that one that arrives twice is stored once.
      - With neither a file nor a run, no event is written.
    options:
      events:
        description: File of events, such as C(runs/site/events.jsonl). It is created.
        env: [{name: TASKTAIL_EVENTS}]
        ini: [{section: tasktail, key: events}]
      run:
        description: In place of a file, id of a run at the server of E(TASKTAIL_URL).
        env: [{name: TASKTAIL_RUN}]
        ini: [{section: tasktail, key: run}]
"""

REASON_CHARS_MAX = 1000
"""Length of a failure's reason."""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """One event when the playbook starts, for each task, for each host's result, and when the playbook ends."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "tasktail_events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._log: Optional[EventLog] = None
        # Of this execution: Ansible's own ids of tasks differ between executions, but not between hosts.
        self._execution = uuid.uuid4().hex
        self._failed = False
        self._fields: Dict[str, Any] = {}

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        """Opens the event log."""
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        file, run = self.get_option("events"), self.get_option("run")
        if file:
            self._log = EventLog(file)
            self._fields = {"run_id": run or os.path.basename(os.path.dirname(os.path.abspath(file)))}
        elif run:
            self._log = EventLog(run=run)

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Writes `run.started`."""
        self._write("start", event_type="run.started", new_state="running", playbook=playbook._file_name)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Writes `step.started`."""
        self._start(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Writes `step.started`."""
        self._start(task)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Writes `step.completed`."""
        self._result(result, "completed")

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Writes `step.skipped`."""
        self._result(result, "skipped")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Writes `step.failed`, also of a failure that the playbook ignores."""
        self._failed = self._failed or not ignore_errors
        self._result(result, "failed", error_class="ignored" if ignore_errors else "task_failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Writes `step.failed`."""
        self._failed = True
        self._result(result, "failed", error_class="unreachable")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Writes `run.completed` or `run.failed`."""
        state = "failed" if self._failed else "completed"
        hosts = {host: stats.summarize(host) for host in sorted(stats.processed)}
        self._write("end", event_type=f"run.{state}", new_state=state, hosts=hosts)

    def _start(self, task: Any) -> None:
        self._write(f"{task._uuid}-start", event_type="step.started", step_id=task.get_name(), new_state="running")

    def _result(self, result: Any, state: str, **fields: Any) -> None:
        task, host, values = result._task, result._host.get_name(), result._result
        # What `no_log` hides must not be in an event either.
        hidden = "censored" in values or bool(values.get("_ansible_no_log"))
        reason = None
        if state == "failed":
            reason = "hidden by no_log" if hidden else str(values.get("msg") or values.get("stderr") or "")
        self._write(
            f"{task._uuid}-{host}",
            event_type=f"step.{state}",
            step_id=task.get_name(),
            host=host,
            new_state=state,
            changed=bool(values.get("changed")),
            reason=reason[:REASON_CHARS_MAX] if reason else None,
            **fields,
        )

    def _write(self, part: str, **fields: Any) -> None:
        if self._log is None:
            return
        try:
            self._log.append(event_id=f"{self._execution}-{part}", actor="ansible", attempt=0, **self._fields, **fields)
        except Exception as error:  # no event is worth a failed playbook
            self._display.warning(f"tasktail_events: an event was not written: {error}")
