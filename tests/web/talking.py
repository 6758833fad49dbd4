"""What the tests of the page do again and again."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect


def last(page: Page, role: str = "assistant") -> Locator:
    return page.locator(f".turn.{role}").last


def answered(page: Page) -> Locator:
    """The last answer, once it is complete."""
    expect(page.locator("#send")).to_have_text("Send")
    expect(last(page).locator(".actions")).to_be_visible()
    return last(page)


def say(page: Page, text: str) -> Locator:
    """Send a message and wait for the whole answer."""
    page.fill("#input", text)
    page.click("#send")
    expect(last(page, "user").locator(".text")).to_have_text(text)
    return answered(page)


def stored(page: Page) -> list[dict[str, Any]]:
    """The conversations in the browser's storage."""
    kept: list[dict[str, Any]] = page.evaluate("store.all()")
    return kept
