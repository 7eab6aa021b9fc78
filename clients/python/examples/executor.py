"""A work request as a Debusine executor runs it: several commands and the worker's own messages in one log."""

import subprocess
import sys

import tasktail


def execute(work_request_id, commands, log_file):
    """Runs the commands until one fails. Returns its exit code."""
    with tasktail.task(work_request_id) as task:
        task.line("Downloading input artifact foo.dsc", stream="internal")
        for command in commands:
            # Also written to the file that becomes the artifact, as before.
            done = tasktail.run_streamed(command, worker=task, stdout=log_file, stderr=subprocess.STDOUT)
            if done.returncode != 0:
                break
        task.line("Uploading result artifacts", stream="internal")
        task.exit_code = done.returncode
    return done.returncode


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as log_file:
        steps = [["echo", "Building package foo 1.2.3..."], ["sh", "-c", "echo 'error: no rule' >&2; exit 2"]]
        sys.exit(execute(42, steps, log_file))
