"""The dashboard, the model card and the ops table."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from rustinfer.protocol.messages import OpRow, Stats

from .conftest import Site
from .talking import say


def tile(page: Page, title: str) -> dict[str, str]:
    node = page.locator(".tile", has=page.get_by_role("heading", name=title, exact=True))
    return {"figure": node.locator("b").inner_text(), "more": node.locator(".muted").inner_text()}


def test_tiles_tell_what_happens(page: Page, site: Site) -> None:
    site.engine.delay, site.engine.text = 0.005, "word " * 60
    say(page, "talk")
    stats = Stats(
        site.engine.epoch, running=2, waiting=3, pages_total=64, pages_used=16, prompt_tokens=200, cached_tokens=50,
        memory_bytes=300_000_000, device_memory_bytes=80_000_000_000, device_memory_used_bytes=20_000_000_000,
    )  # fmt: skip
    site.engine.news.append(stats)
    page.click("#tab-dashboard")
    expect(page.locator(".tile", has_text="Running").locator("b")).to_have_text("2")
    assert tile(page, "Running")["more"] == "3 waiting"
    assert tile(page, "Cache in use") == {"figure": "25 %", "more": "16 of 64 pages; 0 preempted"}
    assert tile(page, "Prompt tokens from cache")["figure"] == "25 %"
    assert tile(page, "Engine memory")["figure"] == "300 MB"
    assert tile(page, "GPU memory") == {"figure": "20.00 GB", "more": "of 80.00 GB"}
    assert re.fullmatch(r"[\d.]+ m?s", tile(page, "Time to first token")["figure"])
    assert re.fullmatch(r"median of 30 s; p95 [\d.]+ m?s", tile(page, "Time per token")["more"])
    plot = page.get_by_role("img", name=re.compile("^Tokens per second, last two minutes: now .*, at most "))
    expect(plot).to_be_visible()
    assert float(plot.get_attribute("aria-label").rpartition(" ")[2].replace(",", "")) > 1  # type: ignore[union-attr]
    site.engine.news.append(Stats(site.engine.epoch))
    expect(page.locator(".tile", has_text="GPU memory")).to_be_hidden()


def test_quantiles_are_those_of_the_counts(page: Page) -> None:
    found = page.evaluate(
        """() => {
          const at = (...counts) => new Map([1, 2, 4, Infinity].map((edge, i) => [edge, counts[i]]));
          return [quantile(at(0, 0, 0, 0), at(10, 10, 10, 10), 0.5), quantile(at(5, 5, 5, 5), at(5, 7, 9, 9), 0.75),
            quantile(new Map(), at(0, 0, 0, 3), 0.5), quantile(at(1, 1, 1, 1), at(1, 1, 1, 1), 0.5)];
        }"""
    )
    assert found[:3] == [0.5, 3, 4]
    assert str(found[3]) == "nan"


def test_the_model_card(page: Page) -> None:
    page.click("#tab-dashboard")
    facts = page.locator("#facts")
    for text in ("acme/bytes", "512 tokens", "float32", "Acme 9000", "cpu (1)", "f" * 32):
        expect(facts).to_contain_text(text)
    expect(facts).not_to_contain_text("secret")
    expect(page.locator("#model")).to_have_text("acme/bytes")


def test_the_ops_table(page: Page, site: Site) -> None:
    rows = [
        *(OpRow(f"model.layers.{n}.mlp", "linear", "cpu", {"triton": "needs a GPU"}) for n in range(12)),
        OpRow("model.norm", "rms_norm", "acme"),
    ]
    table = {"model": "m", "dtype": "float32", "device": "cpu", "data": [vars(row) for row in rows]}
    page.click("#tab-ops")
    page.evaluate("(table) => opsTable(table)", table)
    body = page.locator("#rows tr")
    texts = [re.compile(r"layers\.\*\.mlp.12linearcputriton needs a GPU"), re.compile("first in order")]
    expect(body).to_have_text(texts)
    for typed, seen in (("norm", 1), ("needs a gpu", 1), ("nothing", 0), ("", 2)):
        page.fill("#filter", typed)
        expect(body).to_have_count(seen)
    page.check("#refused")
    expect(page.locator("#ops-count")).to_have_text("12 of 13 bindings")
    page.uncheck("#refused")
    chip = page.get_by_role("button", name="acme 1")
    chip.click()
    expect(body).to_have_count(1)
    expect(chip).to_have_attribute("aria-pressed", "true")
    chip.click()
    expect(body).to_have_count(2)


def test_a_page_that_is_not_seen_asks_for_nothing(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("looks = 0; Object.defineProperty(document, 'hidden', { get: () => ++looks })")
    page.wait_for_function("() => looks > 0")
    asked.clear()
    page.wait_for_function("() => looks > 2")
    assert asked == []


def test_counters_that_went_back_are_those_of_a_new_server(page: Page) -> None:
    seen = page.evaluate(
        """() => {
          const reading = (n) => parsed(`rustinfer_http_responses_total ${n}\\nrustinfer_generation_tokens_total ${n}`);
          const kept = readings.splice(0);
          [10, 20, 3].forEach((n) => show(reading(n)));
          const left = readings.splice(0, 99, ...kept).length;
          return left;
        }"""
    )
    assert seen == 1
