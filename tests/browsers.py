"""A real headless Chromium for tests of pages; skipped with a reason where there is none, except in CI."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright


@contextmanager
def chromium() -> Generator[Browser, None, None]:
    """The machine's Chromium, driven by Playwright."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        reason = "no Chromium on this machine: install the package chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=30_000)  # machines that run tests have other things to do
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def watched(page: Page, origin: str = "http://127.0.0.1:") -> list[str]:
    """What goes wrong on a page, and every request that leaves its origin, from now on."""
    seen: list[str] = []
    page.on("pageerror", lambda fault: seen.append(f"error: {fault}"))
    page.on("dialog", lambda dialog: seen.append(f"dialog: {dialog.message}"))

    def request(url: str) -> None:
        if not url.startswith((origin, "data:")):
            seen.append(f"request: {url}")

    page.on("request", lambda one: request(one.url))
    return seen
