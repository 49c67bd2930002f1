"""A real browser in front of a real server: Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, sync_playwright

from tests.browser import wording
from tests.system import System

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: Where pictures of each page go (docs/screens, when they are made anew); None: no pictures.
SCREENS = os.environ.get("COUPON_SCREENS")
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


_MISSING = "there is no Chromium (apt-get install chromium fonts-nanum)"
_ITS_TESTS = "tests/browser/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(_ITS_TESTS) and CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason=_MISSING))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was left out is said where nobody overlooks it, and where `make test` says what ran."""
    left_out = [each for each in terminalreporter.getreports("skipped") if each.nodeid.startswith(_ITS_TESTS)]
    if left_out and CHROMIUM is None:
        said = f"NOT TESTED IN A BROWSER: {len(left_out)} tests were left out, for {_MISSING}"
        terminalreporter.section(said, sep="!", red=True, bold=True)


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
        self.language = language
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", self._answered)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "/favicon.ico" not in message.location["url"]:
            self.complaints.append(f"{self.page.url}: {message.text} ({message.location})")

    def _answered(self, response: Response) -> None:
        if response.status >= 500:
            self.complaints.append(f"{response.status} from {response.request.method} {response.url}")

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
        """The page at a desk and on a phone: no wider than either, and in its reader's language."""
        for size in (WIDE, NARROW):
            self.page.set_viewport_size({"width": size["width"], "height": size["height"]})
            self.page.wait_for_timeout(300)
            self._picture(name, size["width"])
            self._is_shown_whole(name, size["width"])
        odd = wording.odd_lines(self.page.inner_text("body"), self.language)
        self.complaints += [f"{name} says {line!r}" for line in odd]
        self.page.set_viewport_size({"width": WIDE["width"], "height": WIDE["height"]})

    def dark(self, name: str) -> None:
        """The same page for somebody whose system is dark: a picture, and its text must stand out."""
        self.page.emulate_media(color_scheme="dark")
        self.page.reload()
        self.page.wait_for_selector("html.dark")
        self.page.wait_for_timeout(1_500)
        self._picture(f"{name}-dark", WIDE["width"])
        self.page.emulate_media(color_scheme="light")
        self.page.reload()

    def _picture(self, name: str, width: int) -> None:
        if SCREENS:
            path = Path(SCREENS) / f"{name}.{self.language}.{width}.png"
            self.page.screenshot(path=path, full_page=True)
            Image.open(path).quantize(64).save(path, optimize=True)  # a third of the bytes

    def _is_shown_whole(self, name: str, width: int) -> None:
        overflow = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0, f"{name} is {overflow} px wider than {width}"


@pytest.fixture(params=["ko", "en"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def visitor(chromium: Browser, system: System, language: str) -> Iterator[Visitor]:
    context = chromium.new_context(locale=language, timezone_id="Asia/Seoul")
    visitor = Visitor(context, system, language)
    yield visitor
    context.close()
    assert not visitor.complaints, "\n".join(visitor.complaints)
