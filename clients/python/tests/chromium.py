"""A headless Chromium, driven by our own WebSocket client."""

import asyncio
import json
import shutil
import subprocess
import urllib.request
from urllib.parse import urlsplit

from conftest import wait_until

from tasktail._endpoint import Endpoint
from tasktail._websocket import WebSocket

PROGRAM = shutil.which("chromium")


class Page:
    """One tab; its methods are synchronous."""

    def __init__(self, folder):
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"]
        command = [PROGRAM, *options, f"--user-data-dir={folder}", "--window-size=900,700", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        file = folder / "DevToolsActivePort"
        port = wait_until(lambda: file.exists() and file.read_text().split("\n")[0])
        targets = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/json").read())
        url = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
        self._loop = asyncio.new_event_loop()
        self._number = 0
        endpoint = Endpoint.of(f"http://127.0.0.1:{port}")
        self._socket = self._loop.run_until_complete(WebSocket.connect(endpoint, urlsplit(url).path))

    def call(self, method, **params):
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, params), 30))

    async def _call(self, method, params):
        self._number += 1
        number = self._number
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}).encode())
        while True:
            answer = json.loads(await self._socket.receive())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def cookie(self, url, name, value):
        self.call("Network.setCookie", name=name, value=value, url=url)

    def open(self, url):
        self.call("Page.navigate", url=url)

    def run(self, script):
        """Returns the value of an expression in the page; None if it throws, as while it loads."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    def run_in_frame(self, script):
        """Returns the value of an expression in the page's first frame of the same site; None while there is none."""
        frames = self.call("Page.getFrameTree")["frameTree"].get("childFrames")
        if not frames:
            return None
        try:
            world = self.call("Page.createIsolatedWorld", frameId=frames[0]["frame"]["id"])
            context = world["executionContextId"]
            answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, contextId=context)
        except AssertionError:
            # The frame was replaced in between.
            return None
        return answer["result"].get("value")

    def screenshot(self, path):
        import base64

        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self):
        self._loop.run_until_complete(self._socket.close())
        self._loop.close()
        self._process.terminate()
        self._process.wait()
