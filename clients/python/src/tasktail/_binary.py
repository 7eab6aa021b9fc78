"""Finds the tasktail program."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

NAME = "tasktail.exe" if os.name == "nt" else "tasktail"


def find_binary() -> str:
    """Returns the path of the tasktail program.

    ``TASKTAIL_BIN`` is used if it is set, then the program that was installed with this package, then the one on PATH.

    Raises:
        FileNotFoundError: there is none.
    """
    named = os.environ.get("TASKTAIL_BIN")
    if named:
        return named
    folders = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    scheme = "nt_user" if os.name == "nt" else "posix_user"
    if scheme in sysconfig.get_scheme_names():
        folders.append(sysconfig.get_path("scripts", scheme))
    for folder in folders:
        path = Path(folder) / NAME
        if path.is_file():
            return str(path)
    on_path = shutil.which(NAME)
    if on_path:
        return on_path
    raise FileNotFoundError("the tasktail program is not installed: install the wheel of tasktail, or set TASKTAIL_BIN")
