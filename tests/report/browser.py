"""A real Chromium without a window, driven through its debugging pipe."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
TROUBLE = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
PATIENCE_S = 60
START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for number, end in enumerate(ends, 3):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The browser reads commands from descriptor 3 and answers on 4."""
OPTIONS = ("--headless", "--disable-gpu", "--no-sandbox", "--remote-debugging-pipe")


class Page:
    """One page; `events` are what the browser told of it."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._buffer, self._number, self._session = b"", 0, ""
        self.events: list[dict] = []
        (target,) = (t for t in self.do("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.do("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **params: object) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                assert select.select([self._from], [], [], PATIENCE_S)[0], f"no answer to {method}"
                self._buffer += os.read(self._from, 1 << 20)
            text, _, self._buffer = self._buffer.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def js(self, expression: str) -> object:
        answer = self.do(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def key(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        self.do("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.do("Input.dispatchKeyEvent", type="keyUp", key=key)

    def wait_for(self, expression: str, seconds: float = 600.0) -> None:
        end = time.monotonic() + seconds
        while not self.js(expression):
            assert time.monotonic() < end, f"never: {expression}\n{self.trouble()}"
            time.sleep(0.05)

    def trouble(self) -> list[dict]:
        """What it complained about."""
        return [event["params"] for event in self.events if event["method"] in TROUBLE]

    def requested(self) -> list[str]:
        """Everything that it wanted to load."""
        sent = [e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.do("Page.captureScreenshot")["data"]))


@contextmanager
def opened(path: Path, profile: Path) -> Iterator[Page]:
    """The file in a fresh browser, its charts drawn."""
    read_end, to_browser = os.pipe()
    from_browser, write_end = os.pipe()
    browser = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    line = [sys.executable, "-c", START, str(read_end), str(write_end), *browser]
    process = subprocess.Popen(line, pass_fds=(read_end, write_end), stderr=subprocess.DEVNULL)
    try:
        page = Page(to_browser, from_browser)
        page.do("Page.navigate", url=path.as_uri())
        page.wait_for("document.documentElement?.dataset.ready === 'yes'")
        yield page
    finally:
        process.terminate()
        process.wait()
        for end in (read_end, to_browser, from_browser, write_end):
            os.close(end)
