"""Several conversations, in the browser and out of it."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from ..server.conftest import wait_for
from .conftest import Site, Visit
from .talking import answered, last, say, stored


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
    expect(page.locator(".turn.assistant .note")).to_contain_text("tokens")


def test_an_opened_one_goes_on_with_its_own_turns(page: Page, site: Site) -> None:
    say(page, "one")
    page.click("#new")
    say(page, "other")
    page.locator("#conversations .open", has_text="one").click()
    say(page, "more")
    prompt = bytes(site.engine.requests[-1].prompt_token_ids).decode()
    assert "one" in prompt
    assert "other" not in prompt


def delete(page: Page, title: str, *, sure: bool = True) -> None:
    page.once("dialog", lambda dialog: dialog.accept() if sure else dialog.dismiss())
    page.locator("#conversations li", has_text=title).hover()
    page.get_by_label(f"Delete “{title}”").click()


def begin(page: Page, text: str) -> None:
    page.fill("#input", text)
    page.press("#input", "Enter")
    expect(page.locator(".turn.assistant .text")).to_contain_text("slowly")


def test_an_answer_goes_on_while_another_conversation_is_open(page: Page, site: Site) -> None:
    site.engine.text, site.engine.hold = "slowly " * 60, 50
    begin(page, "left")
    page.click("#new")
    expect(page.locator("#send")).to_have_text("Send")
    expect(page.locator("#conversations .running")).to_have_count(1)
    begin(page, "other")
    page.locator("#conversations .open", has_text="left").click()
    expect(page.locator("#send")).to_have_text("Stop")
    site.engine.hold = None
    expect(answered(page).locator(".text")).to_have_text(site.engine.text.strip())
    expect(page.locator("#conversations .running")).to_have_count(0)
    assert [len(one["turns"][1]["text"]) for one in stored(page)] == [len(site.engine.text)] * 2
    assert not site.engine.aborted


def test_one_that_is_deleted_is_not_answered_any_further(page: Page, site: Site) -> None:
    site.engine.text, site.engine.hold = "slowly " * 60, 50
    begin(page, "left")
    delete(page, "left")
    expect(page.locator("#hello")).to_be_visible()
    wait_for(lambda: not site.engine.running)
    page.wait_for_timeout(300)
    assert stored(page) == []


def test_a_page_that_is_loaded_again_shows_what_there_was_and_goes_on(page: Page, site: Site) -> None:
    site.engine.text, site.engine.hold = "slowly " * 60, 50
    begin(page, "tell")
    page.reload()
    expect(last(page).locator(".text")).to_contain_text("slowly")
    expect(last(page).locator(".note")).to_have_text("broke off when the page was left")
    before = last(page).locator(".text").inner_text()
    site.engine.text, site.engine.hold = " and fast", None
    last(page).get_by_role("button", name="Continue").click()
    expect(answered(page).locator(".text")).to_have_text(before.strip() + " and fast")
    assert bytes(site.engine.requests[-1].prompt_token_ids).decode().strip().endswith(before.strip())


def test_rename(page: Page) -> None:
    say(page, "about cats")
    for typed, key, shown in (("Cats", "Enter", "Cats"), ("Dogs", "Escape", "Cats"), ("  ", "Enter", "Cats")):
        page.locator("#conversations li").hover()
        page.get_by_role("button", name="Rename").click()
        page.get_by_label("Title").fill(typed)
        page.get_by_label("Title").press(key)
        expect(page.locator("#conversations .open")).to_have_text(shown)
    say(page, "more")
    assert [one["title"] for one in stored(page)] == ["Cats"]


def test_delete_asks_first(page: Page) -> None:
    say(page, "about cats")
    delete(page, "about cats", sure=False)
    assert len(stored(page)) == 1
    delete(page, "about cats")
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
    hostile = {
        "id": "../x",
        "title": "<b>bold</b>",
        "turns": turns,
        "changed": "never",
        "context": "x",
        "__proto__": {"a": 1},
    }
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
