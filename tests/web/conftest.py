"""Chromium, driven by Playwright, and a live server before a fake engine for it to look at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from rustinfer.protocol.address import private_address

from ..server.conftest import LiveServer, live, wait_for
from ..server.fake_engine import FakeEngine

WAIT_SECONDS = 60
expect.set_options(timeout=WAIT_SECONDS * 1000)
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync""".split()  # noqa: SIM905 - one long line otherwise
GREEDY = "localStorage.getItem('rustinfer.temperature') ?? localStorage.setItem('rustinfer.temperature', 0)"
"""The fake engine says its text and nothing else where the temperature is 0."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


# Not for the whole session: while Playwright runs, this thread has an event loop, and other tests want to make theirs.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A headless Chromium. Without one the tests are skipped, or fail where NEED_BROWSER is set."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        reason = f"no browser: none of {', '.join(NAMES)} is on PATH"
        (pytest.fail if os.environ.get("NEED_BROWSER") else pytest.skip)(reason)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Site:
    """The fake engine and the server before it."""

    engine: FakeEngine
    server: LiveServer

    @property
    def url(self) -> str:
        return self.server.url


@pytest.fixture(scope="package")
def shared_site() -> Iterator[Site]:
    address = private_address()
    with FakeEngine(address, ends=True) as engine, live(address) as server:
        server.wait_ready()
        yield Site(engine, server)
    shutil.rmtree(Path(address.removeprefix("ipc://")).parent)


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """The shared site, with the engine's settings put back afterwards, once nothing of the test runs any more."""
    engine = shared_site.engine
    kept = {name: getattr(engine, name) for name in ("delay", "text", "ends", "refuse", "fail_after", "hold")}
    engine.requests.clear()
    engine.aborted.clear()
    yield shared_site
    wait_for(lambda: not engine.running)
    vars(engine).update(kept)


@pytest.fixture
def address() -> Iterator[str]:
    address = private_address()
    yield address
    shutil.rmtree(Path(address.removeprefix("ipc://")).parent)


class Visit:
    """One visitor: a browser's context of its own, and what went wrong in it."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url, self.problems = url, list[str]()
        options = {"permissions": ["clipboard-read", "clipboard-write"], "locale": "en-GB", **options}
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(WAIT_SECONDS * 1000)
        self.context.add_init_script(GREEDY)
        self.page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("request", self._request)

    def open(self, fragment: str = "") -> Page:
        """Load the page and wait until it knows the engine, and has shown the last that it asks of it by itself."""
        self.page.goto(self.url + "/" + fragment)
        expect(self.page.locator("#state")).to_have_text("ready")
        expect(self.page.locator("#facts")).not_to_be_empty()
        return self.page

    def _console(self, message: ConsoleMessage) -> None:
        # The browser itself reports every answer that is no success; the page shows those in its own way.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.problems.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", f"blob:{self.url}")):
            self.problems.append(f"outside: {request.url}")


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    """A visitor whose page may neither report an error nor ask anybody else for anything."""
    visit = Visit(browser, site.url)
    yield visit
    visit.context.close()
    assert not visit.problems


@pytest.fixture
def page(visit: Visit) -> Page:
    """The page, open, with its engine ready."""
    return visit.open()


@pytest.fixture(scope="module")
def box(browser: Browser, shared_site: Site) -> Iterator[Page]:
    """A page that only renders."""
    page = browser.new_page()
    page.goto(shared_site.url)
    yield page
    page.close()
