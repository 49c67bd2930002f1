"""A real browser in front of a real server: Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.system import System

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: Where pictures of each page go (docs/screens, when they are made anew); None: no pictures.
SCREENS = os.environ.get("COUPON_SCREENS")
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser/" in item.nodeid and CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="there is no Chromium: apt-get install chromium"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    # Playwright runs an event loop in this thread; the tests' own database calls beside it are as safe as
    # without one.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


class Visitor:
    """Somebody at the admin, who complains about errors in the browser's console."""

    def __init__(self, context: BrowserContext, system: System, language: str) -> None:
        self._system = system
        self._language = language
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "/favicon.ico" not in message.location["url"]:
            self.complaints.append(message.text)

    def go(self, path: str) -> Page:
        self.page.goto(f"http://127.0.0.1:{self._system.api.port}{path}")
        return self.page

    def log_in(self, name: str, password: str) -> None:
        self.go("/admin/login/?next=/admin/")
        self.page.fill("[name=username]", name)
        self.page.fill("[name=password]", password)
        self.page.click("[type=submit]")
        self.page.wait_for_url("**/admin/")

    def picture(self, name: str) -> None:
        """Pictures of the page at a desk and on a phone; it must not be wider than either."""
        for size in (WIDE, NARROW):
            self.page.set_viewport_size({"width": size["width"], "height": size["height"]})
            self.page.wait_for_timeout(300)
            if SCREENS:
                path = Path(SCREENS) / f"{name}.{self._language}.{size['width']}.png"
                self.page.screenshot(path=path, full_page=True)
                Image.open(path).quantize(64).save(path, optimize=True)  # a third of the bytes
            overflow = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert overflow <= 0, f"{name} is {overflow} px wider than {size['width']}"
        self.page.set_viewport_size({"width": WIDE["width"], "height": WIDE["height"]})


@pytest.fixture(params=["ko", "en"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def visitor(chromium: Browser, system: System, language: str) -> Iterator[Visitor]:
    context = chromium.new_context(locale=language, timezone_id="Asia/Seoul")
    visitor = Visitor(context, system, language)
    yield visitor
    context.close()
    assert visitor.complaints == []
