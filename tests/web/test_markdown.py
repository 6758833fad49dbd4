"""What becomes of Markdown: the right elements, and never anything that the model or a file could use to do harm."""

from __future__ import annotations

import pytest
from playwright.sync_api import CDPSession, Page, expect

from .conftest import Site
from .talking import say

HTML = "(text) => { const box = element('div'); render(box, text); return box.innerHTML; }"
RENDERED = [
    ("one\ntwo\n\nthree", "<p>one<br>two</p><p>three</p>"),
    ("# A\ntext", "<h3>A</h3><p>text</p>"),
    ("#### B ##", "<h6>B</h6>"),
    ("a **b** *c* _e_ ~~f~~", "<p>a <strong>b</strong> <em>c</em> <em>e</em> <del>f</del></p>"),
    ("__d__", "<p><strong>d</strong></p>"),
    ("**a *b* c**", "<p><strong>a <em>b</em> c</strong></p>"),
    ("2 * 3 * 4 and snake_case_name and a*b", "<p>2 * 3 * 4 and snake_case_name and a*b</p>"),
    ("`a *b*` and ``c`d``", "<p><code>a *b*</code> and <code>c`d</code></p>"),
    (r"\*not\* \`code\`", "<p>*not* `code`</p>"),
    ("- a\n- b\n  - c\n- d", "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>"),
    ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
    ("Say:\n1. a\n\n   more\n2. b", "<p>Say:</p><ol><li>a<p>more</p></li><li>b</li></ol>"),
    ("- [ ] a\n- [x] b", "<ul><li>☐ a</li><li>☑ b</li></ul>"),
    ("> a\n> - b", "<blockquote><p>a</p><ul><li>b</li></ul></blockquote>"),
    ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
    (
        "| a | b |\n|---|:-:|\n| 1 | **2** |",
        """<div class="wide"><table><thead><tr><th>a</th><th class="center">b</th></tr></thead>\
<tbody><tr><td>1</td><td class="center"><strong>2</strong></td></tr></tbody></table></div>""",
    ),
    (
        r"a|b" + "\n:-|-:\n" + r"1\|2|3|4" + "\n5",
        """<div class="wide"><table><thead><tr><th>a</th><th class="right">b</th></tr></thead>\
<tbody><tr><td>1|2</td><td class="right">3</td></tr><tr><td>5</td><td class="right"></td></tr></tbody></table></div>""",
    ),
    ("a | b\n---", "<p>a | b</p><hr>"),
    (r"\(x\)", "<p><math><mrow><mi>x</mi></mrow></math></p>"),
    ("$x_1^2$", "<p><math><mrow><msubsup><mi>x</mi><mn>1</mn><mn>2</mn></msubsup></mrow></math></p>"),
    ("from $5 to $10, or US$5/$10", "<p>from $5 to $10, or US$5/$10</p>"),
    (
        "\\[\n\\frac{1}{2}\n\\]",
        """<p><span class="wide"><math display="block">\
<mrow><mfrac><mn>1</mn><mn>2</mn></mfrac></mrow></math></span></p>""",
    ),
    ("$$\n{x\n$$", "<p><code>\n{x\n</code></p>"),
    ("\\[\nx", "<p>[<br>x</p>"),
]


@pytest.mark.parametrize(("source", "html"), RENDERED, ids=[source[:12] for source, _ in RENDERED])
def test_it_renders(box: Page, source: str, html: str) -> None:
    made: str = box.evaluate(HTML, source)
    assert made.replace(' start="1"', "") == html


def test_code_has_its_language_and_colours(box: Page) -> None:
    html: str = box.evaluate(HTML, 'Look:\n```python\ndef f(x):  # why\n    return "a" + 12\n```\nDone.')
    assert '<span>python</span><button type="button">Copy</button>' in html
    assert '<span class="word">def</span> f(x):  <span class="comment"># why</span>' in html
    assert '<span class="string">"a"</span> + <span class="number">12</span>' in html
    assert html.endswith("<p>Done.</p>")


def test_code_that_is_still_open_is_code(box: Page) -> None:
    assert "<pre tabindex" in box.evaluate(HTML, "```\nx < 1")
    fences = "````\n```\ninner\n```\n````"
    assert box.evaluate("(text) => { const box = element('div'); render(box, text); return box.innerText; }", fences)
    assert box.evaluate("(text) => blocks(text).length", fences) == 1


def test_growing_text_ends_up_as_the_whole_would(box: Page) -> None:
    """Drawn at every length, as a stream may do it, and blocks that are complete stay the same nodes."""
    text = "\n\n".join(source for source, _ in RENDERED) + "\n```js\nlet a = 1;\n```\nend"
    same, kept = box.evaluate(
        """(text) => {
          const [grown, whole] = [element("div"), element("div")];
          let first = null, kept = true;
          for (let n = 1; n <= text.length; n++) {
            render(grown, text.slice(0, n));
            if (n === 20) first = grown.firstChild;
            if (n > 20) kept &&= grown.firstChild === first;
          }
          render(whole, text);
          return [grown.innerHTML === whole.innerHTML, kept];
        }""",
        text,
    )
    assert same
    assert kept


ALLOWED = """a blockquote br button code del div em h3 h4 h5 h6 hr li ol p pre span strong table tbody td th thead tr
ul math mfrac mi mn mo mover mroot mrow mspace msqrt msub msubsup msup mtable mtd mtext mtr munder
munderover""".split()  # noqa: SIM905 - one long line otherwise
ATTRIBUTES = """accent class display displaystyle href linethickness rel start stretchy tabindex target title type
width""".split()  # noqa: SIM905 - one long line otherwise
INJECTIONS = [
    "<script>window.harmed = 1</script>",
    "<img src=x onerror='window.harmed = 1'>",
    "<svg onload=window.harmed=1><animate onbegin=window.harmed=1>",
    "<iframe srcdoc='<script>parent.harmed = 1</script>'></iframe>",
    "<a href='javascript:window.harmed=1'>click</a>",
    "[click](javascript:window.harmed=1)",
    "[click](JaVaScRiPt:window.harmed=1)",
    "[click](java\tscript:window.harmed=1)",
    "[click](&#106;avascript:window.harmed=1)",
    "[click](data:text/html,<script>opener.harmed=1</script>)",
    "[click](vbscript:x) [click](file:///etc/passwd) [click](blob:x) [click](//evil.example/x)",
    "![image](http://evil.example/pixel.png) ![x](javascript:window.harmed=1)",
    '[a](https://evil.example/"onmouseover="window.harmed=1)',
    '[a](https://e.example "title\\" onclick=\\"window.harmed=1")',
    "https://e.example/\"onclick='window.harmed=1'",
    "<javascript:window.harmed=1> <https://e.example/<script>window.harmed=1</script>>",
    '```html"><script>window.harmed=1</script>\n<script>window.harmed = 1</script>\n```',
    "```\n</code></pre><script>window.harmed=1</script>",
    "`<img src=x onerror=window.harmed=1>`",
    "| <img src=x onerror=window.harmed=1> | b |\n|---|---|\n| <script>window.harmed=1</script> | [x](javascript:1) |",
    "# <form action=https://evil.example><input name=a></form>",
    "> <style>@import 'https://evil.example/x.css'; body { display: none }</style>",
    "- <base href=https://evil.example/>\n- <meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<div id=send name=byId class=error style='position:fixed;inset:0'>",
    "{{constructor.constructor('window.harmed=1')()}} ${window.harmed=1} <%= 1 %>",
    "\u202e\u2066[safe](https://e.example)\u2069 \u0000 \ufeff \ud7ff",
    "**<b onclick=window.harmed=1>**__<i>__~~<u>~~",
    r"\(\text{<script>window.harmed=1</script>}\href{javascript:window.harmed=1}{x}\)",
    r"\[\begin{<img src=x onerror=window.harmed=1>}a & b\end{x} \style{position:fixed}{y} \class{error}{z}\]",
    r"$\unicode{x}\require{html}\def\a{\a}\a\__proto__\constructor\toString$ $\mathbb{__proto__}$",
]
HOSTILE_SIZES = [
    "> " * 4000 + "deep",
    "\n".join("  " * n + "- x" for n in range(400)),
    "**" * 20_000,
    "[" * 20_000,
    "`" * 20_001,
    "_a" * 20_000,
    "![" * 10_000 + "](" * 10_000,
    "|" * 5_000 + "\n" + "|-" * 5_000,
    "https://" + "a." * 20_000,
    "a" * 200_000,
    r"\(" * 20_000,
    "$a" * 20_000,
    "\\(" + "{" * 900 + "\\)",
    "\\[\n" + "{" * 2900 + "\n\\]",
    "\\[\n" + r"\frac" * 500 + "\n\\]",
    "\\[\n" + r"\begin{cases}" * 200 + "\n\\]",
    "$$\n" * 10_000,
]
INSPECT = """(text) => {
  const box = element("div");
  document.body.append(box);
  render(box, text);
  const nodes = [...box.querySelectorAll("*")];
  const found = {
    tags: [...new Set(nodes.map((node) => node.localName))],
    attributes: [...new Set(nodes.flatMap((node) => node.getAttributeNames()))],
    links: [...box.querySelectorAll("a")].map((node) => [node.href, node.rel, node.target]),
  };
  nodes.forEach((node) => { if (node.localName !== "a") node.click?.(); node.dispatchEvent(new Event("mouseover")); });
  box.remove();
  return found;
}"""


@pytest.mark.parametrize("text", INJECTIONS, ids=range(len(INJECTIONS)))
def test_nothing_is_injected(box: Page, text: str) -> None:
    found = box.evaluate(INSPECT, text)
    assert set(found["tags"]) <= set(ALLOWED)
    assert set(found["attributes"]) <= set(ATTRIBUTES)
    for href, rel, target in found["links"]:
        assert href.startswith(("http://", "https://", "mailto:"))
        assert (rel, target) == ("noopener noreferrer nofollow", "_blank")
    box.wait_for_timeout(5)
    assert box.evaluate("window.harmed") is None


@pytest.mark.parametrize("text", HOSTILE_SIZES, ids=range(len(HOSTILE_SIZES)))
def test_hostile_sizes_are_drawn_in_time(box: Page, text: str) -> None:
    session = box.context.new_cdp_session(box)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    start = processor_seconds(session)
    box.evaluate(INSPECT, text)
    took = processor_seconds(session) - start
    session.detach()
    assert 0 < took < 3


def processor_seconds(session: CDPSession) -> float:
    """What the page's thread has had of the processor."""
    told = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return float(told["ThreadTime"])


def test_nothing_is_injected_by_an_answer(page: Page, site: Site) -> None:
    """The whole way: from the engine, as a user's message, as a title, and read back from storage."""
    site.engine.text = "\n\n".join(INJECTIONS)
    page.evaluate("localStorage.setItem('rustinfer.max_tokens', '')")
    for text in ("<img src=x onerror=window.harmed=1>", "<script>window.harmed=1</script>"):
        say(page, text)
    page.reload()
    page.locator("#conversations .open").click()
    expect(page.locator(".turn")).to_have_count(4)
    assert page.evaluate("window.harmed") is None
    assert page.locator("#log :is(script, img, iframe, form, style, base, meta)").count() == 0


ATTEMPTS = [
    "document.body.innerHTML = '<b>'",
    "document.write('x')",
    "new DOMParser().parseFromString('', 'text/html')",
]


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_the_policy_lets_no_string_become_html(box: Page, attempt: str) -> None:
    tried = f"(() => {{ try {{ {attempt}; return 'done' }} catch (error) {{ return error.name }} }})()"
    assert box.evaluate(tried) == "TypeError"
