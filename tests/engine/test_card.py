from __future__ import annotations

import pytest

from rustinfer.engine.card import REASON, reason


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("ImportError: not today", "ImportError: not today"),
        ("ImportError: no 'x' in 'y' (/usr/lib/site/y.py)\nTraceback", "ImportError: no 'x' in 'y' (y.py)"),
        ("FileNotFoundError: '/secret/place/x.json'", "FileNotFoundError: 'x.json'"),
        ("ValueError: a/b and 3 / 4", "ValueError: a/b and 3 / 4"),
        ("x" * 9999, "x" * REASON),
    ],
)
def test_why_a_plugin_did_not_load_names_no_folder(error: str, told: str) -> None:
    assert reason(error) == told
