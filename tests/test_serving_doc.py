"""docs/serving.md names what there is, and nothing that there is not."""

from __future__ import annotations

import re

import pytest

from rustinfer.flags import COMMON, ENGINE, SERVER
from rustinfer.server import auth
from rustinfer.server.fields import LABELS
from rustinfer.server.generation import Generation
from rustinfer.server.metrics import Metrics
from rustinfer.server.routes import ROUTES
from rustinfer.settings import OTHERS

from .conftest import ROOT

TEXT = (ROOT / "docs" / "serving.md").read_text()
WORDS = set(re.findall(r"`([^`]+)`", TEXT))
SAID_ELSEWHERE = {"model", "stream", "stream_options", "service_tier", "cache_salt", *LABELS}


@pytest.mark.parametrize("path", sorted({re.sub(r":\w+", "", route.path) for route in ROUTES}))
def test_every_path_is_named(path: str) -> None:
    assert re.search(rf"`(\w+ )?{re.escape(path)}`", TEXT), path


def test_every_field_of_generating_requests_is_named() -> None:
    assert set(Generation.model_fields) - WORDS <= SAID_ELSEWHERE


def test_flags_metrics_and_variables_exist() -> None:
    flags = {flag for flag, _ in (*SERVER, *ENGINE, *COMMON)}
    assert {word.split()[0] for word in WORDS if word.startswith("--")} <= flags
    exposed = set(re.findall(r"^# TYPE (\S+)", Metrics().text().decode(), re.MULTILINE))
    assert {word for word in WORDS if re.fullmatch(r"rustinfer_\w+", word)} <= exposed
    twins = {f"RUSTINFER_{flag.removeprefix('--').replace('-', '_').upper()}" for flag in flags} | OTHERS
    assert {word.partition("=")[0] for word in WORDS if word.startswith("RUSTINFER_")} - {"RUSTINFER_"} <= twins


def test_every_code_can_be_met() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "rustinfer" / "server").rglob("*.py"))
    codes = {
        code
        for row in re.findall(r"^\| \d.*", TEXT, re.MULTILINE)
        for code in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", row)
    }
    assert len(codes) > 12
    assert not {code for code in codes if f'"{code}"' not in source}


def test_the_paths_without_a_key_are_those() -> None:
    (line,) = re.findall(r"everywhere but at ([^.]*)\.", TEXT)
    assert set(re.findall(r"`([^`]+)`", line)) == auth.PUBLIC
