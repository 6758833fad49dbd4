"""What the page says and does when the engine or the server is away."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from ..server.conftest import live
from ..server.fake_engine import FakeEngine
from .conftest import Visit
from .talking import answered, last


def test_the_engine_goes_and_comes_back(browser: Browser, address: str) -> None:
    with live(address) as server:
        engine = FakeEngine(address, hold=100, text="word\n\n" * 100).start()
        visit = Visit(browser, server.url)
        page = visit.open()
        page.fill("#input", "talk")
        page.press("#input", "Enter")
        expect(last(page).locator(".text")).to_contain_text("word")
        engine.stop()
        expect(last(page).locator(".error")).to_be_visible()
        expect(last(page).locator(".note")).to_contain_text("broke off")
        expect(page.locator("#state")).to_have_text("engine away")
        expect(page.locator("#away")).to_contain_text("Messages wait for it")
        expect(last(page).locator(".error")).to_be_in_viewport(ratio=1)
        page.fill("#input", "again")
        page.press("#input", "Enter")
        expect(page.locator("#live")).to_contain_text("not ready yet")
        expect(page.locator("#send")).to_have_text("Stop")
        with FakeEngine(address, text="Back.", ends=True):
            expect(answered(page).locator(".text")).to_have_text("Back.")
            expect(page.locator("#state")).to_have_text("ready")
            expect(page.locator("#away")).to_be_hidden()
        visit.context.close()
        assert not visit.problems


def test_waiting_can_be_given_up(browser: Browser, address: str) -> None:
    with live(address) as server:
        visit = Visit(browser, server.url)
        page = visit.page
        page.goto(server.url)
        expect(page.locator("#state")).to_have_text("engine away")
        page.fill("#input", "hello")
        page.press("#input", "Enter")
        expect(page.locator("#live")).to_contain_text("not ready yet")
        page.press("#input", "Escape")
        expect(last(page).locator(".note")).to_have_text("stopped")
        visit.context.close()
        assert not visit.problems


def test_the_server_goes_and_comes_back(browser: Browser, address: str) -> None:
    with FakeEngine(address, text="Back.", ends=True):
        with live(address) as server:
            server.wait_ready()
            visit = Visit(browser, server.url)
            page = visit.open()
        expect(page.locator("#state")).to_have_text("no server")
        page.fill("#input", "hello")
        page.press("#input", "Enter")
        expect(page.locator("#live")).to_contain_text("The server cannot be reached")
        with live(address, port=int(server.url.rpartition(":")[2])):
            expect(answered(page).locator(".text")).to_have_text("Back.")
        visit.context.close()
        assert not visit.problems
