"""TeX's formulas become MathML."""
# ruff: noqa: RUF001 - the letters and signs of mathematics are meant

from __future__ import annotations

import pytest
from playwright.sync_api import Page

FORMULAS = [
    (r"\sqrt{b^2}", "<msqrt><msup><mi>b</mi><mn>2</mn></msup></msqrt>"),
    (r"\sqrt[3]{x}", "<mroot><mi>x</mi><mn>3</mn></mroot>"),
    (r"\sum_{i=1}^n", "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover>"),
    (r"\int_0^1", "<msubsup><mo>∫</mo><mn>0</mn><mn>1</mn></msubsup>"),
    (r"\lim_{x \to 0}", "<munder><mi>lim</mi><mrow><mi>x</mi><mo>→</mo><mn>0</mn></mrow></munder>"),
    ("f'(x)", "<msup><mi>f</mi><mo>′</mo></msup><mo>(</mo><mi>x</mi><mo>)</mo>"),
    (r"\mathbb{R}\mathbf{a}\mathcal{Lx}", "<mi>ℝ</mi><mi>𝐚</mi><mi>ℒ𝓍</mi>"),
    (r"\left( x \right.", '<mrow><mo stretchy="true">(</mo><mi>x</mi></mrow>'),
    (r"\text{if } x", "<mtext>if&nbsp;</mtext><mi>x</mi>"),
    (
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        """<mrow><mo stretchy="true">(</mo><mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>2</mn></mtd></mtr>\
<mtr><mtd><mn>3</mn></mtd><mtd><mn>4</mn></mtd></mtr></mtable><mo stretchy="true">)</mo></mrow>""",
    ),
    (r"3.14 - \pi", "<mn>3.14</mn><mo>−</mo><mi>π</mi>"),
    (r"\unheard{x}", r"<mtext>\unheard</mtext><mi>x</mi>"),
]


@pytest.mark.parametrize(("source", "inside"), FORMULAS, ids=[source for source, _ in FORMULAS])
def test_a_formula_is_set(box: Page, source: str, inside: str) -> None:
    made: str = box.evaluate("(text) => formula(text).outerHTML", source)
    assert made == f"<math><mrow>{inside}</mrow></math>"
