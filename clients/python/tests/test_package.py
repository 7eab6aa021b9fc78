import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

BIN = Path(sys.executable).parent


def run(*command, cwd=ROOT, **env):
    done = subprocess.run([*map(str, command)], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(sys.version_info < (3, 10), reason="the newest tools need 3.10; once is enough")
def test_types_and_lints():
    run(BIN / "ruff", "check", "--no-cache", ".")
    run(BIN / "ruff", "format", "--no-cache", "--check", ".")
    run(BIN / "mypy", "--cache-dir", ROOT.parents[1] / "target/python/mypy")


def test_the_basic_parts_need_the_standard_library_only():
    program = """
import sys
sys.path = [path for path in sys.path if "site-packages" not in path]
import tasktail, tasktail.aio, tasktail.logging
with tasktail.Server() as server, tasktail.task("x", url=server.http_url) as task:
    task.line("x")
print(task.delivery.complete)
"""
    assert run(sys.executable, "-S", "-c", program) == "True\n"


SIX_LINES = """
def test_log(tasktail_redis, tasktail_server):
    import tasktail
    with tasktail.task("42", url=tasktail_server.http_url) as task:
        task.line("Building...")
    assert task.delivery.complete
    assert tasktail_server.log("42") == "Building...\\n"
"""


@pytest.mark.skipif("TASKTAIL_WHEEL" not in os.environ, reason="builds the program; set TASKTAIL_WHEEL=1")
def test_the_wheel_has_the_program_and_the_plugin(tmp_path):
    run(BIN / "maturin", "build", "--locked", "--profile", "dev", "--out", tmp_path)
    [wheel] = tmp_path.glob("tasktail-*.whl")
    run(sys.executable, "-m", "venv", "--system-site-packages", tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    # Without an index: the package has no dependencies.
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", wheel)
    (tmp_path / "test_log.py").write_text(SIX_LINES)
    site = next(path for path in sys.path if path.endswith("site-packages"))
    env = {"PYTHONPATH": site, "PATH": "/nowhere"}
    without = {name: value for name, value in os.environ.items() if name != "TASKTAIL_BIN"}
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_log.py"]
    done = subprocess.run(command, cwd=tmp_path, env={**without, **env}, capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert run(tmp_path / "venv/bin/tasktail", "--version").startswith("tasktail ")
