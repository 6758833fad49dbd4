"""Several conversations, in the browser and out of it."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from .conftest import Site, Visit
from .talking import say, stored


def test_they_outlive_the_page(page: Page) -> None:
    say(page, "about cats")
    page.click("#new")
    expect(page.locator("#hello")).to_be_visible()
    page.fill("#system", "Bark.")
    say(page, "about dogs")
    page.reload()
    entries = page.locator("#conversations .open")
    expect(entries).to_have_text(["about dogs", "about cats"])
    entries.last.click()
    expect(page.locator(".turn.user .text")).to_have_text("about cats")
    assert page.input_value("#system") == ""
    entries.first.click()
    assert page.input_value("#system") == "Bark."
    expect(page.locator(".turn.assistant .note")).to_contain_text("tokens/s")


def test_an_opened_one_goes_on_with_its_own_turns(page: Page, site: Site) -> None:
    say(page, "one")
    page.click("#new")
    say(page, "other")
    page.locator("#conversations .open", has_text="one").click()
    say(page, "more")
    prompt = bytes(site.engine.requests[-1].prompt_token_ids).decode()
    assert "one" in prompt
    assert "other" not in prompt


def test_an_answer_that_is_left_is_kept(page: Page, site: Site) -> None:
    site.engine.text, site.engine.delay = "slowly " * 50, 0.01
    page.fill("#input", "left")
    page.press("#input", "Enter")
    expect(page.locator(".turn.assistant .text")).to_contain_text("slowly")
    page.click("#new")
    expect(page.locator("#send")).to_have_text("Send")
    page.locator("#conversations .open").click()
    expect(page.locator(".turn.assistant .text")).to_contain_text("slowly")


def test_delete_asks_first(page: Page) -> None:
    say(page, "about cats")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_label("Delete “about cats”").click()
    assert len(stored(page)) == 1
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Delete “about cats”").click()
    assert stored(page) == []
    expect(page.locator("#hello")).to_be_visible()


def test_export_and_import(page: Page, browser: Browser, site: Site, tmp_path: Path) -> None:
    site.engine.text = "It says “bonjour” 🙂."
    say(page, "about cats")
    with page.expect_download() as got:
        page.click("#export")
    path = tmp_path / "out.json"
    got.value.save_as(path)
    elsewhere = Visit(browser, site.url)
    other = elsewhere.open()
    other.set_input_files("#file", path)
    expect(other.locator("#notice")).to_have_text("1 conversation imported.")
    assert stored(other) == stored(page)
    other.set_input_files("#file", path)
    expect(other.locator("#conversations .open")).to_have_count(2)
    elsewhere.context.close()
    assert not elsewhere.problems


def test_a_strange_file_is_refused_and_a_hostile_one_is_cut_to_what_is_known(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    for text, said in (("{", "The file is not JSON."), ("[1]", "The file holds no conversations exported from here.")):
        path.write_text(text)
        page.set_input_files("#file", path)
        expect(page.locator("#notice")).to_have_text(said)
    turns = [
        {"role": "assistant", "text": "<img src=x onerror=alert(1)>", "node": 1},
        {"role": "system", "text": "x"},
        7,
    ]
    hostile = {"id": "../x", "title": "<b>bold</b>", "turns": turns, "changed": "never", "__proto__": {"a": 1}}
    path.write_text(json.dumps({"format": "rustinfer conversations", "conversations": [hostile, None, {"id": 3}]}))
    page.set_input_files("#file", path)
    expect(page.locator("#conversations .open")).to_have_text(["<b>bold</b>"])
    page.click("#conversations .open")
    expect(page.locator(".turn .text")).to_have_text("<img src=x onerror=alert(1)>")
    assert [len(c["turns"]) for c in stored(page)] == [1]


def test_broken_storage_is_passed_over(page: Page) -> None:
    page.evaluate("localStorage.setItem('rustinfer.chat.a', '{'); localStorage.setItem('rustinfer.chat.b', 'null')")
    page.reload()
    expect(page.locator("#state")).to_have_text("ready")
    assert stored(page) == []


def test_full_storage_is_told(page: Page) -> None:
    page.evaluate("for (let n = 1 << 22; n > 8; n >>= 1) try { localStorage.setItem('x' + n, 'y'.repeat(n)) } catch {}")
    say(page, "about cats")
    expect(page.locator("#notice")).to_contain_text("storage is full")
