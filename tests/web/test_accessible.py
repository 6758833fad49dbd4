"""For everybody: by keyboard, by screen reader, in light and dark, on a phone."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import Site, Visit
from .talking import answered, last, say

AXE = (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
ANSWER = "# Title\n\n1. **one** `two`\n\n> three\n\n```python\nx = 1  # note\n```\n\n[link](https://e.example)\n\n\\(x^2\\)\n\n\\[\\frac{1}{2}\\]\n"
VIEWS = ("chat", "dashboard", "ops")
PHONE = {"width": 360, "height": 740}
FURTHEST = "Math.max(...[...document.querySelectorAll('header *')].map((node) => node.getBoundingClientRect().right))"
FOCUSED = "(document.activeElement.id || document.activeElement.textContent)"
ORDER = """skip tab-chat theme shortcuts new export import log Regenerate input send system temperature top_p max_tokens
seed reset key""".split()  # noqa: SIM905 - one long line otherwise


def violations(page: Page) -> list[Any]:
    page.evaluate(AXE + "; undefined")
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [(v["id"], v["impact"], [n["html"] for n in v["nodes"]][:3]) for v in found["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"width": 1280, "height": 800}, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing(browser: Browser, site: Site, scheme: str, size: dict[str, int]) -> None:
    site.engine.text = ANSWER
    # axe puts styles of its own into the page, which the page's policy would forbid.
    visit = Visit(browser, site.url, color_scheme=scheme, viewport=size, reduced_motion="reduce", bypass_csp=True)
    page = visit.open()
    assert violations(page) == []
    say(page, "hello\n" * 60)
    last(page).get_by_role("button", name="Regenerate").click()
    expect(answered(page).locator(".versions")).to_be_visible()
    assert violations(page) == []
    for name in ("history", "settings") if size == PHONE else ():
        page.click(f"#toggle-{name}")
        assert violations(page) == [], name
        page.keyboard.press("Escape")
    if size != PHONE:
        page.locator("#conversations li").hover()
        page.get_by_role("button", name="Rename").click()
        assert violations(page) == []
        page.keyboard.press("Escape")
    for view in VIEWS:
        page.click(f"#tab-{view}")
        assert violations(page) == [], view
    page.click("#shortcuts")
    assert violations(page) == []
    visit.context.close()


def test_no_view_is_wider_than_a_phone(browser: Browser, site: Site) -> None:
    site.engine.text = f"{ANSWER}\n\n{'wide' * 60}\n\n| a | b | c |\n|---|---|---|\n| {'d' * 90} | e | f |\n"
    visit = Visit(browser, site.url, viewport=PHONE, has_touch=True)
    page = visit.open()
    say(page, "w" * 200)
    for view in VIEWS:
        page.click(f"#tab-{view}")
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], view
        assert page.evaluate(FURTHEST) <= PHONE["width"], view
    page.click("#tab-chat")
    for name in ("history", "settings"):
        page.click(f"#toggle-{name}")
        expect(page.locator(f"#{name}")).to_be_visible()
        expect(page.locator(f"#toggle-{name}")).to_have_attribute("aria-expanded", "true")
        page.keyboard.press("Escape")
        expect(page.locator(f"#{name}")).to_be_hidden()
        expect(page.locator(f"#toggle-{name}")).to_be_focused()
        page.click(f"#toggle-{name}")
        page.touchscreen.tap(*((350, 400) if name == "history" else (100, 60)))
        expect(page.locator(f"#{name}")).to_be_hidden()
        page.click(f"#toggle-{name}")
        page.locator(f"#{name} .close").click()
        expect(page.locator(f"#{name}")).to_be_hidden()
    box = page.locator("#send").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= PHONE["height"]
    visit.context.close()
    assert not visit.problems


def test_enter_makes_a_new_line_where_the_keyboard_is_on_the_screen(browser: Browser, site: Site) -> None:
    visit = Visit(browser, site.url, viewport=PHONE, has_touch=True)
    page = visit.open()
    expect(page.locator("#input")).not_to_be_focused()
    page.locator("#input").press_sequentially("one\ntwo")
    page.tap("#send")
    expect(last(page, "user").locator(".text")).to_have_text("one\ntwo")
    visit.context.close()
    assert not visit.problems


def test_the_keyboard_reaches_everything_in_order(page: Page) -> None:
    say(page, "hello")
    reached: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
    first = reached.index("skip")
    round_trip = reached[first : reached.index("skip", first + 1)]
    assert [name for name in round_trip if name in ORDER] == ORDER


def test_shortcuts(page: Page, site: Site) -> None:
    page.locator("#log").focus()
    page.keyboard.press("2")
    expect(page.locator("#dashboard")).to_be_visible()
    page.keyboard.press("3")
    expect(page.locator("#ops")).to_be_visible()
    page.keyboard.press("/")
    expect(page.locator("#input")).to_be_focused()
    page.keyboard.type("n?123/")
    expect(page.locator("#input")).to_have_value("n?123/")
    page.locator("#log").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("n")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.fill("#input", "")
    say(page, "hello")
    page.locator("#log").focus()
    page.keyboard.press("n")
    expect(page.locator(".turn")).to_have_count(0)


def test_tabs_by_arrow_and_by_address(page: Page, visit: Visit) -> None:
    page.focus("#tab-chat")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-dashboard")).to_be_focused()
    expect(page.get_by_role("tab", selected=True)).to_have_text("Dashboard")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#ops")).to_be_visible()
    assert page.url.endswith("#ops")
    page.reload()
    expect(page.locator("#ops")).to_be_visible()


def test_a_screen_reader_is_told_the_answer_once(page: Page, site: Site) -> None:
    """Not word by word while it streams: when it begins, and the whole when it is there."""
    site.engine.text, site.engine.delay = "One two three.", 0.02
    expect(page.get_by_role("log")).to_have_attribute("aria-live", "off")
    page.fill("#input", "count")
    page.press("#input", "Enter")
    expect(page.locator("#announcer")).to_have_text("The assistant answers")
    expect(last(page)).to_have_attribute("aria-busy", "true")
    expect(page.locator("#announcer")).to_have_text("Assistant: One two three.")
    expect(page.get_by_role("article", name="Assistant")).to_have_attribute("aria-busy", "false")


def test_colours_follow_the_system_until_chosen(browser: Browser, site: Site) -> None:
    visit = Visit(browser, site.url, color_scheme="dark")
    page = visit.open()
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    assert light != dark
    page.click("#theme")
    page.click("#theme")
    assert page.evaluate(ground) == dark
    page.reload()
    assert page.evaluate(ground) == dark
    page.click("#theme")
    assert page.evaluate(ground) == light
    visit.context.close()
    assert not visit.problems
