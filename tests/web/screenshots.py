"""Draws the pictures of docs/images from a server that is running the default model.

rustinfer serve smollm2
python -m tests.web.screenshots http://127.0.0.1:8000 docs/images
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from .conftest import FLAGS, NAMES

LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
    "phone": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}},
}
SETTINGS = """for (const [name, value] of Object.entries({ temperature: 0.2, seed: 4, max_tokens: 150 }))
  localStorage.setItem(`rustinfer.${name}`, value);"""
BEFORE = ("Explain how a bicycle stays upright.", "Name three colours.", "Translate “good morning” into French.")
SHOWN = ("Name the capital of France.", "Write a Python function that returns the n-th Fibonacci number.")
# Others who use the server while the dashboard is drawn.
OTHERS = """for (let n = 0; n < 4; n++) (async () => {
  const system = "You answer in one paragraph, with care, and name your sources.";
  for (let i = 0; ; i++) {
    const messages = [{ role: "system", content: system }, { role: "user", content: `Tell me about ${n * i}.` }];
    const body = JSON.stringify({ model, messages, max_tokens: 40 + 9 * n });
    await call("/v1/chat/completions", { method: "POST", body });
    await new Promise((done) => setTimeout(done, 700 * Math.random()));
  }
})();
null"""


def say(page: Page, text: str) -> None:
    page.fill("#input", text)
    page.press("#input", "Enter")
    expect(page.locator("#send")).to_have_text("Send", timeout=120_000)


def draw(page: Page, look: str, out: Path) -> None:
    expect(page.locator("#state")).to_have_text("ready")
    for text in BEFORE:
        say(page, text)
        page.evaluate("newConversation()")
    for text in SHOWN:
        say(page, text)
    page.wait_for_timeout(500)
    page.screenshot(path=out / f"chat-{look}.png")
    page.evaluate("view('dashboard')")
    page.evaluate(OTHERS)
    page.wait_for_timeout(30_000)
    page.screenshot(path=out / f"dashboard-{look}.png")
    page.evaluate("view('ops')")
    page.screenshot(path=out / f"ops-{look}.png")


def main(url: str, out: str) -> None:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        for look, options in LOOKS.items():
            context = browser.new_context(locale="en-GB", **options)  # type: ignore[arg-type]
            context.add_init_script(SETTINGS)
            page = context.new_page()
            page.goto(url)
            draw(page, look, Path(out))
            context.close()


if __name__ == "__main__":
    main(*sys.argv[1:3])
