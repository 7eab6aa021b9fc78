import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

import tasktail

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


def check_wheel(wheel, folder):
    """Installs a wheel in an environment of its own, and runs a test file of six lines with it."""
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv/bin/python"
    # Without an index: the package has no dependencies.
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--no-index", "--no-compile", wheel)
    (folder / "test_log.py").write_text(SIX_LINES)
    # pytest and redis are those of this environment; the plugin is found by its entry point.
    site = next(path for path in sys.path if path.endswith("site-packages"))
    without = {name: value for name, value in os.environ.items() if name != "TASKTAIL_BIN"}
    env = {**without, "PYTHONPATH": site, "PATH": "/nowhere"}
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_log.py"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert run(folder / "venv/bin/tasktail", "--version").startswith("tasktail ")


def test_an_installed_wheel_has_the_program_and_the_plugin(tmp_path):
    # maturin builds the program without features of development dependencies, which takes minutes. Its wheel has
    # these parts.
    project = (ROOT / "pyproject.toml").read_text()
    plugin = re.search(r"entry-points.pytest11]\ntasktail = \"(.+)\"", project).group(1)
    wheel = tmp_path / "tasktail-0.0.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in (ROOT / "src").rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(ROOT / "src"))
        archive.write(tasktail.find_binary(), "tasktail-0.0.0.data/scripts/tasktail")
        info = "tasktail-0.0.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tasktail\nVersion: 0.0.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", f"[pytest11]\ntasktail = {plugin}\n")
        archive.writestr(f"{info}/RECORD", "")
    check_wheel(wheel, tmp_path)


@pytest.mark.skipif("TASKTAIL_WHEEL" not in os.environ, reason="builds the program; set TASKTAIL_WHEEL=1")
def test_the_wheel_of_maturin(tmp_path):
    run(BIN / "maturin", "build", "--locked", "--profile", "dev", "--out", tmp_path)
    [wheel] = tmp_path.glob("tasktail-*.whl")
    check_wheel(wheel, tmp_path)
