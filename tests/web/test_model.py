"""The page before the real thing: the default model, an engine and a server as anybody starts them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from ..conftest import Running
from .conftest import Visit
from .talking import last


@pytest.mark.model
def test_a_newcomer_asks_for_the_capital_of_france(browser: Browser, running_server: Running) -> None:
    visit = Visit(browser, running_server.url)
    page = visit.open()
    page.get_by_role("button", name="Name the capital of France.").click()
    expect(last(page).locator(".text")).to_contain_text("Paris")
    page.get_by_role("tab", name="Ops").click()
    expect(page.locator("#rows tr").first).to_be_visible()
    expect(page.locator("#rows")).to_contain_text("model.layers.*.self_attn")
    visit.context.close()
    assert not visit.problems
