"""Sends what killed workers left in a spool."""

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

from tasktail._delivery import (
    SPOOL_FOLDER,
    Core,
    Delivery,
    Options,
    WorkerOptions,
    lock_folder,
    write_json,
)
from tasktail._line import Line, now_ms
from tasktail._local_log import End, LocalLog
from tasktail._uplink import Session
from tasktail._worker import Worker

KILLED_MESSAGE = "the worker was killed; these lines were recovered from its spool, and the exit status is unknown"


def send_unsent(
    spool: Union[str, "os.PathLike[str]"],
    *,
    url: Optional[str] = None,
    token: Optional[str] = None,
    ca_file: Optional[str] = None,
    end_timeout: Optional[float] = None,
) -> List[Delivery]:
    """Sends the lines that workers left in a spool, because they were killed or the server was away.

    Sessions that are in use by a running worker are left alone. A task whose worker was killed ends as aborted. What is
    delivered is removed from the spool. Nothing is stored twice, since every line has its number.

    Args:
        spool: the folder that the workers had as `spool`.
        url: the server; by default the one that each worker had.
        token: access token; by default ``TASKTAIL_TOKEN``.
        ca_file: certificate authority of the server; by default ``TASKTAIL_CA_FILE``.
        end_timeout: as of `tasktail.Worker`.
    """
    found = sorted((Path(spool) / SPOOL_FOLDER).glob("*/session.json"))
    options: WorkerOptions = {"url": url, "token": token, "ca_file": ca_file, "end_timeout": end_timeout}
    sent = (_send(path.parent, options) for path in found)
    return [delivery for delivery in sent if delivery is not None]


def _send(folder: Path, options: WorkerOptions) -> Optional[Delivery]:
    try:
        lock_file = lock_folder(folder)
    except FileNotFoundError:  # it was just delivered and removed
        return None
    if lock_file is None:
        return None
    details = _read_json(folder / "session.json")
    if details is None:
        # Another process has just delivered and removed it.
        os.close(lock_file)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    given = options.copy()
    given["url"] = options["url"] or details["url"]
    opts = Options.of(details.pop("task"), **given)
    details.pop("url")
    log = LocalLog.recover(folder)
    end = _read_json(folder / "end.json")
    if end is None:
        log.append(Line("internal", now_ms(), KILLED_MESSAGE))
        end = End(now_ms(), None, None, True)._asdict()
        write_json(folder / "end.json", end)
    core = Core(opts, Session(**details), log)
    core.adopt(folder, lock_file)
    log.finish(End(**end))
    worker = Worker._of_core(core)
    return worker.join()


def _read_json(path: Path) -> Optional[Dict[str, Any]]:
    with contextlib.suppress(OSError, ValueError):
        value = json.loads(path.read_text())
        if isinstance(value, dict):
            return value
    return None
