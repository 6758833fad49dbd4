"""Asking, streaming, stopping, asking again."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, Route, expect

from ..server.conftest import live, wait_for
from ..server.fake_engine import TEMPLATE, FakeEngine, card
from .conftest import Site, Visit
from .talking import answered, last, say

LONG = "word " * 400


def prompts(site: Site) -> list[str]:
    return [bytes(r.prompt_token_ids).decode() for r in site.engine.requests]


def test_an_answer_streams(page: Page, site: Site) -> None:
    site.engine.text, site.engine.hold = "One two **three** 🙂.", 3
    page.fill("#input", "count")
    page.press("#input", "Enter")
    expect(last(page).locator(".text")).to_contain_text("One")
    expect(page.locator("#send")).to_have_text("Stop")
    site.engine.hold = None
    expect(answered(page).locator(".text")).to_have_text("One two three 🙂.")
    assert last(page).locator("strong").inner_text() == "three"
    assert "tokens/s · first token" in last(page).locator(".note").inner_text()


def test_enter_sends_and_shift_enter_does_not(page: Page, site: Site) -> None:
    page.fill("#input", "one")
    page.press("#input", "Shift+Enter")
    page.locator("#input").press_sequentially("two")
    page.press("#input", "Enter")
    answered(page)
    assert prompts(site) == ["user: one\ntwo\nassistant: "]
    expect(page.locator("#input")).to_be_focused()
    page.press("#input", "Enter")
    assert len(site.engine.requests) == 1, "an empty message is not sent"


def test_stop_by_button_and_by_key(page: Page, site: Site) -> None:
    site.engine.text, site.engine.hold = LONG, 100
    for way in ("button", "key"):
        page.fill("#input", "talk")
        page.press("#input", "Enter")
        expect(last(page).locator(".text")).to_contain_text("word")
        if way == "button":
            page.click("#send")
        else:
            page.press("#input", "Escape")
        expect(answered(page).locator(".note")).to_contain_text("stopped")
        assert len(last(page).locator(".text").inner_text()) < len(LONG) / 2
    wait_for(lambda: not site.engine.running)
    assert len(site.engine.aborted) == 2


def test_regenerate_asks_the_same_again(page: Page, site: Site) -> None:
    say(page, "a")
    site.engine.text = "Another."
    last(page).get_by_role("button", name="Regenerate").click()
    expect(answered(page).locator(".text")).to_have_text("Another.")
    assert page.locator(".turn").count() == 2
    assert prompts(site)[0] == prompts(site)[1]


def test_the_answer_before_can_be_had_again(page: Page, site: Site) -> None:
    site.engine.text = "First."
    say(page, "a")
    expect(page.locator(".versions")).to_have_count(0)
    site.engine.text = "Second."
    last(page).get_by_role("button", name="Regenerate").click()
    expect(answered(page).locator(".versions")).to_contain_text("2/2")
    page.get_by_role("button", name="Answer before").click()
    expect(last(page).locator(".text")).to_have_text("First.")
    page.reload()
    expect(last(page).locator(".versions")).to_contain_text("1/2")
    say(page, "b")
    assert "First." in prompts(site)[-1]
    page.get_by_role("button", name="Answer after").click()
    expect(page.locator(".turn.assistant .text").first).to_have_text("Second.")


DROP = """(files) => {
  const data = new DataTransfer();
  for (const [name, text] of files) data.items.add(new File([text], name));
  byId("log").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def test_a_dropped_file_becomes_part_of_the_message(page: Page, site: Site) -> None:
    page.fill("#input", "What is this?")
    page.click("#tab-ops")
    page.evaluate(DROP, [["a.md", "x\n```\ny\n```\n"], ["b.bin", "\0"], ["c.txt", "x" * 300_000]])
    expect(page.locator("#notice")).to_have_text("c.txt is larger than 256 KiB.")
    expect(page.locator("#input")).to_have_value("What is this?\n\na.md:\n````\nx\n```\ny\n```\n````\n")
    expect(page.locator("#input")).to_be_focused()
    assert not page.evaluate("document.querySelector('.turn')")


def test_an_answer_that_was_cut_goes_on(page: Page, site: Site) -> None:
    site.engine.text = "One two three."
    page.fill("#max_tokens", "4")
    say(page, "count")
    expect(last(page).locator(".note")).to_contain_text("cut at the token limit")
    site.engine.text = "two three."
    page.fill("#max_tokens", "")
    last(page).get_by_role("button", name="Continue").click()
    expect(answered(page).locator(".text")).to_have_text("One two three.")
    expect(last(page).get_by_role("button", name="Continue")).to_have_count(0)


def test_what_came_at_once_has_a_time_and_no_rate(page: Page, site: Site) -> None:
    words = "({ tokens, atFirst, last = 600 }) => measured({ start: 500, first: 600, last, tokens, atFirst })"
    assert page.evaluate(words, {"tokens": 8, "atFirst": 8}) == "8 tokens in 100 ms"
    assert page.evaluate(words, {"tokens": 1, "atFirst": 1}) == "1 token in 100 ms"
    rate = "6.0 tokens/s · first token 100 ms · 8 tokens"
    assert page.evaluate(words, {"tokens": 8, "atFirst": 2, "last": 1600}) == rate
    say(page, "a")
    expect(page.locator("#live")).to_have_text(re.compile(r"^\d+ of 512 tokens of context used$"))


def test_edit_drops_what_came_after(page: Page, site: Site) -> None:
    say(page, "first")
    say(page, "second")
    page.locator(".turn.user").first.get_by_role("button", name="Edit").click()
    field = page.get_by_label("Edit the message")
    expect(field).to_be_focused()
    field.fill("changed")
    field.press("Enter")
    answered(page)
    assert page.locator(".turn").count() == 2
    assert prompts(site)[-1] == "user: changed\nassistant: "


def test_an_edit_can_be_left(page: Page) -> None:
    say(page, "first")
    page.press("#input", "ArrowUp")
    page.get_by_label("Edit the message").press("Escape")
    expect(page.locator(".turn.user .text")).to_be_visible()
    assert page.locator(".turn").count() == 2


def test_what_is_set_is_sent(page: Page, site: Site) -> None:
    page.fill("#system", "Be brief.")
    page.locator("summary").click()
    values = {"max_tokens": "7", "seed": "3", "top_k": "5", "min_p": "0.1", "repetition_penalty": "1.5"}
    for name, value in values.items():
        page.fill(f"#{name}", value)
    page.fill("#stop", "END\n##")
    page.locator("#temperature").fill("0.3")
    say(page, "a")
    sampling = site.engine.requests[0].sampling
    assert prompts(site) == ["system: Be brief.\nuser: a\nassistant: "]
    assert (sampling.max_tokens, sampling.seed, sampling.top_k, sampling.min_p) == (7, 3, 5, 0.1)
    assert (sampling.repetition_penalty, sampling.temperature) == (1.5, 0.3)
    expect(last(page).locator(".note")).to_contain_text("cut at the token limit")
    page.reload()
    assert page.input_value("#seed") == "3"
    page.click("#reset")
    assert (page.input_value("#seed"), page.input_value("#temperature")) == ("", "0.7")


def test_copy(page: Page, site: Site) -> None:
    site.engine.text = "Take *this*:\n\n```python\nx = 1\ny = 2\n```\n"
    say(page, "code")
    last(page).locator(".code").get_by_role("button").click()
    page.wait_for_function("async () => await navigator.clipboard.readText() === 'x = 1\\ny = 2'")
    last(page).locator(".actions").get_by_role("button", name="Copy").click()
    expect(last(page).locator(".actions")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == site.engine.text


def test_a_refusal_is_shown_and_the_next_message_is_answered(page: Page, site: Site) -> None:
    site.engine.fail_after = 3
    say(page, "a")
    error = last(page).locator(".error")
    expect(error).to_have_text("Internal server error")
    page.reload()
    expect(error).to_have_text("Internal server error")
    site.engine.fail_after = None
    last(page).get_by_role("button", name="Regenerate").click()
    answered(page)
    expect(page.locator(".error")).to_have_count(0)
    page.fill("#max_tokens", "100000")
    say(page, "b")
    expect(last(page).locator(".error")).to_contain_text("maximum context length is 512 tokens")
    expect(last(page).locator(".note")).to_have_text("")


def test_the_page_follows_only_who_is_at_the_end(page: Page, site: Site) -> None:
    site.engine.text, site.engine.delay, site.engine.hold = "line\n\n" * 400, 0.004, 400
    page.fill("#input", "talk")
    page.press("#input", "Enter")
    expect(last(page).locator("p").nth(60)).to_be_attached()
    assert page.evaluate("atEnd()")
    page.evaluate("byId('log').scrollTop = 0")
    site.engine.hold = 450
    expect(last(page).locator("p").nth(70)).to_be_attached()
    assert page.evaluate("byId('log').scrollTop") == 0
    page.get_by_role("button", name="To the end").click()
    expect(page.locator("#down")).to_be_hidden()
    assert page.evaluate("atEnd()")
    page.press("#input", "Escape")


def test_an_api_key_is_asked_for_once(browser: Browser, site: Site) -> None:
    with live(site.server.app.state.options.engine, api_key=("sesame",)) as server:
        visit = Visit(browser, server.url)
        page = visit.page
        page.goto(server.url)
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        page.get_by_label("API key", exact=True).last.fill("wrong")
        page.keyboard.press("Enter")
        expect(dialog).to_be_visible()
        page.locator("#ask-key").fill("sesame")
        page.keyboard.press("Enter")
        expect(page.locator("#state")).to_have_text("ready")
        say(page, "a")
        page.reload()
        expect(page.locator("#state")).to_have_text("ready")
        assert "sesame" not in page.evaluate("JSON.stringify(localStorage)")
        visit.context.close()
        assert not visit.problems


def test_a_message_sent_before_the_model_is_known_waits_for_its_name(visit: Visit) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    visit.page.route("**/v1/ops", hold)
    visit.page.goto(visit.url)
    visit.page.fill("#input", "early")
    visit.page.press("#input", "Enter")
    expect(visit.page.locator("#send")).to_have_text("Stop")
    for route in held:
        route.continue_()
    answered(visit.page)
    expect(visit.page.locator(".error")).to_have_count(0)


def test_thoughts_are_folded_away(browser: Browser, address: str) -> None:
    template = TEMPLATE.replace("assistant: ", "<think>") + "{# <think> </think> #}"
    thinking = FakeEngine(address, text="Let me see.</think>It is Paris.", ends=True, card=card(chat_template=template))
    with thinking, live(address) as server:
        visit = Visit(browser, server.url)
        page = visit.open()
        say(page, "where")
        expect(last(page).locator(".text")).to_have_text("It is Paris.")
        expect(last(page).locator(".thought")).to_be_hidden()
        page.get_by_text("Thoughts").click()
        expect(last(page).locator(".thought")).to_have_text("Let me see.")
        visit.context.close()
        assert not visit.problems
