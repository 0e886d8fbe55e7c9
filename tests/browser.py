"""A real browser for tests: Debian's Chromium, driven with the W3C WebDriver protocol, which is JSON over HTTP.

with Browser() as browser:
    browser.open("http://127.0.0.1:8090/")
    assert browser.run("return document.title") == "Sandbox"
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

from tests.brokers import REQUIRE_REAL, USED
from tests.ports import free_port
from tests.waiting import listens, wait_until

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key under which WebDriver names elements
_DESKTOP = (1280, 800)


class WebDriverError(Exception):
    """The driver could not do what it was asked."""


def need_browser() -> tuple[str, str]:
    """Chromium and its driver, or a skip with the reason; a failure where real components are required."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if programs[0] is None or programs[1] is None:
        if REQUIRE_REAL:
            pytest.fail("REQUIRE_REAL=1, but there is no chromium with chromedriver on this machine")
        pytest.skip("needs Chromium and its driver (Debian: apt-get install chromium chromium-driver)")
    return programs[0], programs[1]


class Browser:
    """A headless Chromium without any profile, with one window; `close` ends it and its driver."""

    def __init__(self) -> None:
        chromium, driver = need_browser()
        self._folder = Path(tempfile.mkdtemp(prefix="browser-"))
        self._port = free_port()
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", trust_env=False, verify=False, timeout=60)
        self._session = ""
        with (self._folder / "log.txt").open("wb") as log:
            self._process = subprocess.Popen([driver, f"--port={self._port}"], stdout=log, stderr=log)
        try:
            wait_until(lambda: listens(self._port) or self._process.poll() is not None, 30, "chromedriver listens")
            self._session = self._start(chromium)
            self.resize(*_DESKTOP)
        except BaseException:
            self.close()
            raise
        USED["Chromium on this machine"] = USED.get("Chromium on this machine", 0) + 1

    def _start(self, chromium: str) -> str:
        arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]
        arguments += [f"--user-data-dir={self._folder / 'profile'}"]
        arguments += ["--no-sandbox"] if os.getuid() == 0 else []
        always = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session: str = self._send("POST", "/session", {"capabilities": {"alwaysMatch": always}})["sessionId"]
        return f"/session/{session}"

    def _send(self, method: str, path: str, body: object = None) -> Any:
        answer = self._http.request(method, path, json=body)
        value = answer.json()["value"]
        if answer.is_error:
            raise WebDriverError(f"{method} {path}: {value['error']}: {value['message']}")
        return value

    def _post(self, command: str, **parameters: object) -> Any:
        return self._send("POST", f"{self._session}/{command}", parameters)

    # What a person does

    def open(self, url: str) -> None:
        """Go to this address."""
        self._post("url", url=url)

    def click(self, selector: str) -> None:
        """Click on the first element that a CSS selector finds."""
        self._post(f"element/{self._element(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        """Type into an element; control keys are WebDriver's, such as "\\ue015" for arrow down."""
        self._post(f"element/{self._element(selector)}/value", text=text)

    def hover(self, selector: str, right: int = 0, down: int = 0) -> None:
        """Put the pointer on an element, so many pixels from its middle."""
        origin = {_ELEMENT: self._element(selector)}
        move = {"type": "pointerMove", "duration": 0, "origin": origin, "x": right, "y": down}
        self._post("actions", actions=[{"type": "pointer", "id": "mouse", "actions": [move]}])

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """A window of this many pixels, narrower than windows can be if need be; light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._chromium("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._chromium("Emulation.setEmulatedMedia", features=[scheme])

    # What a person sees

    def text(self, selector: str) -> str:
        """The visible text of an element."""
        return str(self._send("GET", f"{self._session}/element/{self._element(selector)}/text"))

    def count(self, selector: str) -> int:
        """How many elements a CSS selector finds."""
        return len(self._post("elements", using="css selector", value=selector))

    def run(self, script: str, *arguments: object) -> Any:
        """What this JavaScript returns."""
        return self._post("execute/sync", script=script, args=list(arguments))

    def console(self) -> list[str]:
        """What the console got since the last call: errors and warnings of the page and of the browser."""
        return [f"{entry['level']}: {entry['message']}" for entry in self._post("se/log", type="browser")]

    def screenshot(self, path: Path) -> None:
        """Write the window as a PNG."""
        path.write_bytes(base64.b64decode(self._send("GET", f"{self._session}/screenshot")))

    def _element(self, selector: str) -> str:
        found: dict[str, str] = self._post("element", using="css selector", value=selector)
        return found[_ELEMENT]

    def _chromium(self, command: str, **parameters: object) -> None:
        self._post("goog/cdp/execute", cmd=command, params=parameters)

    # Its end

    def close(self) -> None:
        """End the browser and its driver, and remove what they wrote."""
        try:
            if self._session:
                self._send("DELETE", self._session)
        finally:
            self._http.close()
            self._process.terminate()
            self._process.wait(60)
            shutil.rmtree(self._folder, ignore_errors=True)  # the browser may write a last file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
