import os
import shutil
import subprocess
import sys
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


def test_members_are_imported_on_their_first_use():
    program = """
import sys
import tasktail.pytest_plugin
print(sorted(name for name in sys.modules if name.startswith("tasktail")))
"""
    assert run(sys.executable, "-c", program) == "['tasktail', 'tasktail.pytest_plugin']\n"
    modules = "import tasktail; print(tasktail.logging.Handler, tasktail.aio.Worker)"
    assert "tasktail.logging.Handler" in run(sys.executable, "-c", modules)
    for name in tasktail.__all__:
        assert name in dir(tasktail)
        assert getattr(tasktail, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Wroker'"):
        tasktail.Wroker  # noqa: B018


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


STUB = """
fn main() {
    use std::os::unix::process::CommandExt as _;
    let error = std::process::Command::new(env!("TASKTAIL_REAL")).args(std::env::args_os().skip(1)).exec();
    panic!("{error}");
}
"""


def test_an_installed_wheel_has_the_program_and_the_plugin(tmp_path):
    # The real program takes minutes to build. In its place is one that runs it.
    package = tmp_path / "clients/python"
    shutil.copytree(ROOT, package, ignore=shutil.ignore_patterns("tests", "examples", "__pycache__", ".*_cache"))
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.rs").write_text(STUB)
    manifest = '[package]\nname = "tasktail"\nversion = "0.1.0"\nedition = "2021"\n'
    (tmp_path / "Cargo.toml").write_text(manifest)
    maturin = [BIN / "maturin", "build", "--offline", "--quiet", "--profile", "dev", "--out", tmp_path]
    run(*maturin, cwd=package, TASKTAIL_REAL=tasktail.find_binary(), CARGO_TARGET_DIR=str(tmp_path / "target"))
    [wheel] = tmp_path.glob("tasktail-0.1.0-py3-none-*.whl")
    check_wheel(wheel, tmp_path)


@pytest.mark.skipif("TASKTAIL_WHEEL" not in os.environ, reason="builds the program; set TASKTAIL_WHEEL=1")
def test_the_wheel_of_maturin(tmp_path):
    run(BIN / "maturin", "build", "--locked", "--profile", "dev", "--out", tmp_path)
    [wheel] = tmp_path.glob("tasktail-*.whl")
    check_wheel(wheel, tmp_path)
