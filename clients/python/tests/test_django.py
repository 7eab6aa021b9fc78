import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from chromium import PROGRAM, Page
from conftest import ROOT, LastingServer, free_port, wait_until

import tasktail

pytest.importorskip("django")
pytest.importorskip("celery")

SITE = ROOT / "examples/django_site"
ALICE = {"cookie": "user=alice"}


class Site:
    """The example: a Django site, a Celery worker and a server that needs a token or a share."""

    def __init__(self, folder):
        self.url = f"http://127.0.0.1:{free_port()}"
        key = folder / "share.key"
        key.write_text("0123456789abcdef0123456789abcdef\n")
        self.logs = LastingServer(folder, "--share-jwt-key-file", str(key), "--frame-ancestors", self.url)
        env = {**os.environ, "HOME": str(folder)}
        token = [os.environ["TASKTAIL_BIN"], "token", "create", "--data", str(folder / "data"), "--name", "celery"]
        made = subprocess.run([*token, "--scope", "write"], capture_output=True, text=True, env=env, check=True)
        self.token = made.stdout.strip()
        self.logs.start()
        env.update(
            BROKER_FOLDER=str(folder / "broker"),
            PYTHONPATH=os.pathsep.join([str(ROOT / "src"), str(ROOT / "examples")]),
            SHARE_KEY_FILE=str(key),
            TASKTAIL_URL=self.logs.url,
            TASKTAIL_TOKEN=self.token,
        )
        address = self.url.partition("//")[2]
        celery = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-P", "solo", "-l", "info"]
        django = [sys.executable, "manage.py", "runserver", "--noreload", address]
        with open(folder / "programs.log", "wb") as log:
            self.programs = [
                subprocess.Popen(command, cwd=SITE, env=env, stdout=log, stderr=log) for command in (celery, django)
            ]
        wait_until(lambda: self.get("/nowhere")[0] == 404)

    def get(self, path, **headers):
        """Returns status and text of a page."""
        connection = http.client.HTTPConnection(self.url.partition("//")[2], timeout=30)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def stop(self):
        for program in self.programs:
            program.terminate()
            program.wait(30)
        self.logs.kill()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    found = Site(tmp_path_factory.mktemp("site"))
    yield found
    found.stop()


def test_only_who_may_see_a_log_gets_a_share(site):
    with tasktail.task("private", url=site.logs.url, token=site.token) as task:
        task.line("secret")
    assert task.delivery.complete
    assert site.get("/logs/private/")[0] == 404
    assert site.get("/logs/private/share")[0] == 404
    assert site.get("/logs/a%2Fb/share", **ALICE)[0] == 404
    status, text = site.get("/logs/private/share", **ALICE)
    assert status == 200
    share = json.loads(text)["share"]
    assert read(site, "private", share) == (200, "secret\n")
    assert read(site, "private", share[:-2] + "xx")[0] == 401
    assert read(site, "other", share)[0] == 401
    status, page = site.get("/logs/private/", **ALICE)
    assert status == 200
    assert f'<tasktail-log server="{site.logs.url}" task="private" share="' in page
    assert 'renew="/logs/private/share"' in page
    assert f'<script src="{site.logs.url}/assets/embed.js" async></script>' in page


def read(site, task, share):
    request = urllib.request.Request(f"{site.logs.url}/api/v1/tasks/{task}/log", headers={"tasktail-share": share})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


# In the frame of the element.
ROWS = """[...document.querySelectorAll(".row[data-n]:not(.internal)")]
  .map((row) => [row.classList.contains("stderr") ? "stderr" : "stdout", row.querySelector(".text").textContent])"""
STATE = 'document.querySelector("#state").textContent.slice(2)'
CONNECTION = "document.documentElement.dataset.connection"


@pytest.mark.skipif(PROGRAM is None, reason="without Chromium")
def test_the_page_of_the_site_shows_logs_live_in_a_browser(site, tmp_path):
    page = Page(tmp_path)
    try:
        page.cookie(site.url, "user", "alice")
        # A Celery task that the page itself starts.
        page.open(f"{site.url}/build/foo")
        wait_until(lambda: page.run_in_frame(STATE) == "exit 0", 60)
        assert page.run_in_frame(ROWS)[:3] == [
            ["stdout", "INFO celery_app: Building package foo..."],
            ["stdout", "copied 3 files"],
            ["stderr", "WARNING celery_app: deprecated function used"],
        ]
        # A task that runs while the page is open, with hostile text, through a restart of the server.
        task = tasktail.Worker("live", url=site.logs.url, token=site.token, end_timeout=30)
        page.open(f"{site.url}/logs/live/")
        task.line("<img src=x onerror=document.title='hacked'> \x1b[31mred\x1b[0m")
        shown = [["stdout", "<img src=x onerror=document.title='hacked'> red"]]
        wait_until(lambda: page.run_in_frame(ROWS) == shown)
        assert page.run_in_frame(CONNECTION) == "live"
        site.logs.kill()
        wait_until(lambda: page.run_in_frame(CONNECTION) == "offline")
        task.line("after the restart", stream="stderr")
        site.logs.start()
        shown.append(["stderr", "after the restart"])
        wait_until(lambda: page.run_in_frame(ROWS) == shown)
        page.screenshot(tmp_path / "live.png")
        task.end(3)
        wait_until(lambda: page.run_in_frame(STATE) == "exit 3")
        assert page.run("document.title") == "live · log"
        # A signature that the server does not accept any more is renewed.
        page.open(f"{site.url}/logs/live/")
        wait_until(lambda: page.run_in_frame(ROWS) == shown)
        page.run(
            """{ const old = document.querySelector("tasktail-log"), made = old.cloneNode();
                 made.setAttribute("share", "expired"); old.replaceWith(made); }"""
        )
        wait_until(lambda: page.run_in_frame(ROWS) == shown)
        # Without the permission there is no element at all.
        page.cookie(site.url, "user", "mallory")
        page.open(f"{site.url}/logs/live/")
        wait_until(lambda: page.run("document.title") not in ("live · log", None))
        assert page.run('document.querySelector("tasktail-log")') is None
    finally:
        page.close()
