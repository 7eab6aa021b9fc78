"""`run_streamed`: `subprocess.run` that also streams the output to a server."""

import contextlib
import io
import os
import subprocess
import threading
import time
from typing import IO, Any, Callable, List, Mapping, Optional, Sequence, Union

from tasktail._delivery import Delivery, WorkerOptions
from tasktail._line import LINE_BYTES_MAX, now_ms
from tasktail._worker import Worker

READ_BYTES = 64 * 1024
PENDING_BYTES_MAX = 8 * LINE_BYTES_MAX
"""Bytes without a newline that are kept before they are sent as a part of a line."""

KILLED_OUTPUT_TIMEOUT = 1.0
"""Seconds to wait for the end of the output of a killed command, whose children may hold it open."""

Output = Union[None, int, IO[bytes], IO[str]]


class StreamedProcess(subprocess.CompletedProcess):  # type: ignore[type-arg]
    """A `subprocess.CompletedProcess` that was streamed."""

    task: str
    """Id of the task."""
    delivery: Optional[Delivery]
    """What became of the task's log; None if the task goes on, because a worker was given."""


def run_streamed(
    args: Union[str, Sequence[Union[str, "os.PathLike[str]"]]],
    *,
    task: Union[str, int, None] = None,
    worker: Optional[Worker] = None,
    stdout: Output = None,
    stderr: Output = None,
    capture_output: bool = False,
    input: Union[str, bytes, None] = None,
    timeout: Optional[float] = None,
    check: bool = False,
    text: Optional[bool] = None,
    encoding: Optional[str] = None,
    errors: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
    url: Optional[str] = None,
    token: Optional[str] = None,
    options: Optional[WorkerOptions] = None,
    **popen: Any,
) -> StreamedProcess:
    """Runs a command as `subprocess.run` does, and streams its output line by line as the log of a task.

    The task ends with the exit status of the command. A server that cannot be reached neither fails nor slows the
    command; `StreamedProcess.delivery` reports what became of the log.

    Args:
        args: the command.
        task: id of the task; by default the command's name and a random suffix.
        worker: a worker that receives the output in place of a new task, which it does not end.
        stdout: as in `subprocess.run`: None for this program's own, ``PIPE``, ``DEVNULL`` or a file.
        stderr: the same, or ``STDOUT``.
        capture_output: the same as ``PIPE`` for both.
        input: text for the command's stdin.
        timeout: seconds after which the command is killed.
        check: raise an error if the command fails.
        text: captured output and `input` are text.
        encoding: encoding of the text.
        errors: how to treat what cannot be encoded.
        env: environment of the command.
        url: the server; see `Worker`.
        token: access token; see `Worker`.
        options: further options of `Worker`.
        popen: further arguments of `subprocess.Popen`, such as ``cwd`` or ``shell``.

    Raises:
        subprocess.CalledProcessError: the command failed, with `check`.
        subprocess.TimeoutExpired: the command was killed.
        OSError: the command cannot be started.
    """
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("stdout and stderr may not be used with capture_output")
        stdout = stderr = subprocess.PIPE
    is_text = bool(text or encoding or errors or popen.pop("universal_newlines", False))
    own = worker is None
    words = [args] if isinstance(args, (str, bytes)) else [os.fspath(word) for word in args]
    if worker is None:
        named = task if task is not None else _default_task(words)
        given_options: WorkerOptions = {"url": url, "token": token, "command": words}
        given_options.update(options or {})
        worker = Worker(named, **given_options)
    run = _Run(worker, own, args, stdout, stderr)
    decode = _decoder(encoding, errors) if is_text else None
    given = input.encode(encoding or "utf-8", errors or "strict") if isinstance(input, str) else input
    done = run.run(given, timeout, _child_env(env, worker), decode, popen)
    if check:
        done.check_returncode()
    return done


class _Run:
    """One command and its output."""

    def __init__(self, worker: Worker, own: bool, args: Any, stdout: Output, stderr: Output) -> None:
        self._worker, self._own, self._args = worker, own, args
        merged = stderr == subprocess.STDOUT
        self._merged = merged
        self._sinks = [_Sink(stdout, 1), *([] if merged else [_Sink(stderr, 2)])]

    def run(
        self,
        given: Optional[bytes],
        timeout: Optional[float],
        env: Mapping[str, str],
        decode: Optional[Callable[[bytes], str]],
        popen: Mapping[str, Any],
    ) -> StreamedProcess:
        errors = subprocess.STDOUT if self._merged else subprocess.PIPE
        pipes: Mapping[str, Any] = {} if given is None else {"stdin": subprocess.PIPE}
        try:
            child = subprocess.Popen(self._args, stdout=subprocess.PIPE, stderr=errors, env=env, **{**pipes, **popen})
        except OSError as error:
            self._worker.line(f"cannot start the command: {error}", "internal")
            self._end(127 if isinstance(error, FileNotFoundError) else 126, aborted=False)
            raise
        threads = self._start_threads(child, given)
        try:
            _wait(child, threads, timeout)
        except BaseException as error:
            child.kill()
            child.wait()
            for thread in threads:
                thread.join(KILLED_OUTPUT_TIMEOUT)
            if isinstance(error, subprocess.TimeoutExpired):
                self._worker.line(f"killed after {timeout} s", "internal")
                error.output, error.stderr = self._captured(None)
            self._end(child.returncode, aborted=True)
            raise
        delivery = self._end(child.returncode, aborted=False)
        done = StreamedProcess(self._args, child.returncode, *self._captured(decode))
        done.task, done.delivery = self._worker.task, delivery
        return done

    def _start_threads(self, child: "subprocess.Popen[bytes]", given: Optional[bytes]) -> List[threading.Thread]:
        jobs: List[Callable[[], None]] = []
        for pipe, sink, stream in zip((child.stdout, child.stderr), self._sinks, ("stdout", "stderr")):
            if pipe is not None:
                jobs.append(_Copier(pipe, sink, stream, self._worker).copy)
        if given is not None and child.stdin is not None:
            jobs.append(_Feeder(child.stdin, given).feed)
        threads = [threading.Thread(target=job, daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        return threads

    def _captured(self, decode: Optional[Callable[[bytes], str]]) -> List[Any]:
        found = [sink.captured for sink in self._sinks] + [None] * (2 - len(self._sinks))
        return [decode(data) if decode and data is not None else data for data in found]

    def _end(self, code: Optional[int], aborted: bool) -> Optional[Delivery]:
        return self._worker.end(code, aborted=aborted) if self._own else None


def _wait(child: "subprocess.Popen[bytes]", threads: List[threading.Thread], timeout: Optional[float]) -> None:
    """Waits for the command and for the end of its output, which its own children may hold open."""
    deadline = None if timeout is None else time.monotonic() + timeout
    child.wait(timeout)
    for thread in threads:
        thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if thread.is_alive() and timeout is not None:
            raise subprocess.TimeoutExpired(child.args, timeout)


class _Sink:
    """Where output is copied to, besides the log."""

    def __init__(self, output: Output, inherited: int) -> None:
        self._buffer = io.BytesIO() if output == subprocess.PIPE else None
        self._fd: Optional[int] = None
        if output is None:
            self._fd = inherited
        elif isinstance(output, int):
            self._fd = output if output >= 0 else None
        else:
            output.flush()
            self._fd = output.fileno()

    @property
    def captured(self) -> Optional[bytes]:
        return None if self._buffer is None else self._buffer.getvalue()

    def write(self, data: bytes) -> None:
        if self._buffer is not None:
            self._buffer.write(data)
        while self._fd is not None and data:
            try:
                data = data[os.write(self._fd, data) :]
            except OSError:
                # It was closed, as by `| head`; the command and its log go on.
                self._fd = None


class _Copier:
    """Reads one pipe to its end."""

    def __init__(self, pipe: IO[bytes], sink: _Sink, stream: str, worker: Worker) -> None:
        self._pipe, self._sink, self._stream, self._worker = pipe, sink, stream, worker
        # A secret may be at the place where a long line is divided.
        self._held = 4 * worker._core.masks.chars_max

    def copy(self) -> None:
        with self._pipe:
            self._copy()

    def _copy(self) -> None:
        pending = b""
        while True:
            data = os.read(self._pipe.fileno(), READ_BYTES)
            if not data:
                break
            self._sink.write(data)
            at = now_ms() / 1000
            pending += data
            lines, newline, rest = pending.rpartition(b"\n")
            if newline:
                self._worker._append(lines, self._stream, at)
            pending = rest
            if len(pending) > PENDING_BYTES_MAX:
                cut = _boundary(pending, len(pending) - self._held)
                self._worker._append(pending[:cut], self._stream, at, True)
                pending = pending[cut:]
        if pending:
            self._worker._append(pending, self._stream)


class _Feeder:
    """Writes a command's input."""

    def __init__(self, pipe: IO[bytes], data: bytes) -> None:
        self._pipe, self._data = pipe, data

    def feed(self) -> None:
        # The command may end, or close its stdin, before it has read everything.
        with contextlib.suppress(BrokenPipeError), self._pipe:
            self._pipe.write(self._data)


def _boundary(data: bytes, at: int) -> int:
    """Returns the start of the character at a position."""
    for start in range(at, max(0, at - 4), -1):
        if start < len(data) and data[start] & 0xC0 != 0x80:
            return start
    return at


def _child_env(env: Optional[Mapping[str, str]], worker: Worker) -> Mapping[str, str]:
    own = {"TASKTAIL_URL": worker._core.options.endpoint.url, "TASKTAIL_TASK": worker.task}
    # Python programs would keep output for themselves until they have 8 KiB of it.
    return {"PYTHONUNBUFFERED": "1", **(os.environ if env is None else env), **own}


def _decoder(encoding: Optional[str], errors: Optional[str]) -> Callable[[bytes], str]:
    def decode(data: bytes) -> str:
        decoded = data.decode(encoding or "utf-8", errors or "strict")
        return decoded.replace("\r\n", "\n").replace("\r", "\n")

    return decode


def _default_task(words: Sequence[str]) -> str:
    first = os.path.basename((words[0].split() or [""])[0]) if words else ""
    name = "".join(char for char in first if char.isascii() and (char.isalnum() or char in "._-"))[:64]
    return f"{name or 'task'}-{int(time.time()):x}{os.urandom(3).hex()}"
