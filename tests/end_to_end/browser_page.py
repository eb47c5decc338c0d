"""A headless Chromium that looks at the page, and what must never happen while it does."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 375, "height": 760}


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; skips the tests where none is installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        own = Path(driver.chromium.executable_path)
        program = next(filter(None, map(shutil.which, NAMES)), str(own) if own.exists() else None)
        if program is None:
            pytest.skip("no Chromium is installed")
        as_root = hasattr(os, "geteuid") and os.geteuid() == 0
        browser = driver.chromium.launch(
            executable_path=program, args=["--no-sandbox"] if as_root else []
        )
        yield browser
        browser.close()


class Visit:
    """One tab on the service.

    Attributes:
        page: playwright's page.
        problems: console errors, thrown errors, policy violations, requests to other origins.
    """

    def __init__(self, browser: Any, base: str, **context: Any) -> None:
        self.base = base
        self.problems: list[str] = []
        self._context = browser.new_context(**{"viewport": DESKTOP, **context})
        self.page = self._context.new_page()
        self.page.route("**/*", self._only_ours)
        self.page.on("pageerror", lambda error: self.problems.append(f"thrown: {error}"))
        self.page.on("console", self._note_console)

    def _only_ours(self, route: Any) -> None:
        if route.request.url.startswith((self.base + "/", "blob:", "data:")):
            route.continue_()
        else:
            self.problems.append(f"asked another origin: {route.request.url}")
            route.abort()

    def _note_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text}")

    def open(self, address: str = "/") -> "Visit":
        """Goes there and waits until the page knows the gallery."""
        self.page.goto(self.base + address)
        if address == "/":
            self.page.wait_for_selector("#about:not(:empty)", state="attached")
        return self

    def choose(self, data: bytes, name: str = "photo.jpg", mime: str = "image/jpeg") -> None:
        """Chooses a photo."""
        self.page.set_input_files("#file", {"name": name, "mimeType": mime, "buffer": data})

    def find(self) -> str:
        """Asks, waits for an answer or a failure, and returns its tone."""
        self.page.click("#go")
        return self.wait_for_answer()

    def wait_for_answer(self) -> str:
        """The tone of the answer once there is one."""
        tones = ("sure", "unsure", "refused", "failed")
        self.page.wait_for_selector(",".join(f"#answer[data-tone={tone}]" for tone in tones))
        return str(self.page.get_attribute("#answer", "data-tone"))

    def close(self) -> None:
        """Ends the visit; anything that went wrong fails the test."""
        self._context.close()
        assert not self.problems, self.problems
