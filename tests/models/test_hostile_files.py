"""What lies beside the weights, made to do harm, at the command line: T30, T33, T34.

Nothing outside of the checkpoint's directory is read, and nothing in it is run.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rustinfer.cli import main as cli

from .hostile import KIB, SECONDS, peak, refused

DEEP = "[" * 200_000
SMALL = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
         "special_tokens_map.json", "model.safetensors.index.json")  # fmt: skip


@pytest.mark.parametrize("name", [*SMALL, "shard"])
def test_links_out_of_the_directory(copy: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    file = min(copy.glob("*.safetensors")) if name == "shard" else copy / name
    secret = copy.parent / "secret"
    secret.write_text('{"a": "SECRET"}')
    file.unlink(missing_ok=True)
    file.symlink_to(secret)
    assert "SECRET" not in refused(copy, capsys, "lies outside of the checkpoint's directory")


@pytest.mark.parametrize("name", [*SMALL[:4], *SMALL[5:]])
def test_small_files_that_are_not_what_they_should_be(
    copy: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for text in (DEEP, "[]", "{", "\udcff", '{"a": NaN,,}'):
        (copy / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        refused(copy, capsys, "" if name == "tokenizer.json" else name)
    with (copy / name).open("w") as file:
        file.truncate(1 << 40)
    refused(copy, capsys, "bytes, more than")


def broken_tokenizer(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        table = json.loads((path / "tokenizer.json").read_text())
        change(table)
        (path / "tokenizer.json").write_text(json.dumps(table))

    return apply


TOKENIZERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "model unknown": lambda t: t["model"].update(type="Evil"),
    "vocabulary of texts": lambda t: t["model"].update(vocab={"a": "b"}),
    "negative id": lambda t: t["model"].update(vocab={"a": -1}),
    "id of 2**40": lambda t: t["model"].update(vocab={"a": 1 << 40}),
    "merges of strangers": lambda t: t["model"].update(merges=[["stranger", "other"]]),
    "added token without text": lambda t: t.update(added_tokens=[{"id": 1}]),
    "pattern that is none": lambda t: t.update(
        pre_tokenizer={"type": "Split", "pattern": {"Regex": "(((((["}, "behavior": "Isolated", "invert": False}
    ),
    "decoder unknown": lambda t: t.update(decoder={"type": "Evil"}),
    "no model": lambda t: t.pop("model"),
}


@pytest.mark.parametrize("case", TOKENIZERS)
def test_tokenizers(copy: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    broken_tokenizer(TOKENIZERS[case])(copy)
    assert "the tokenizer cannot be read" in refused(copy, capsys, str(copy))


@pytest.mark.parametrize(
    "template",
    ["{% for %}", "{{ " + "(" * 5000, "{% if x %}" * 3000, "{{ " + "-" * 100_000 + "1 }}", "{{ a | evil }}"],
    ids=range(5),
)
def test_templates_that_cannot_be_compiled(copy: Path, capsys: pytest.CaptureFixture[str], template: str) -> None:
    (copy / "chat_template.jinja").write_text(template)
    assert "the chat template" in refused(copy, capsys, str(copy), "chat")


@pytest.mark.parametrize(
    "template",
    [
        "{% include '/etc/passwd' %}",
        "{% import '../evil.jinja' as evil %}{{ evil.run() }}",
        "{{ 'a' * 10 ** 12 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{% for i in range(10 ** 9) %}a{% endfor %}",
        "{{ messages.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__.os.system('id') }}",
    ],
    ids=range(7),
)
def test_templates_that_do_harm(copy: Path, capsys: pytest.CaptureFixture[str], template: str) -> None:
    """They compile, so the model can be served; a conversation with it ends in one line."""
    (copy / "chat_template.jinja").write_text(template)
    before, start = peak(begin=True), time.process_time()
    assert cli.main(["chat", str(copy), "-m", "a", "--max-tokens", "1"]) in (2, 3)
    assert time.process_time() - start < 3 * SECONDS  # a budget of steps is spent first
    assert peak() - before < 2 * KIB
    shown = capsys.readouterr().err
    assert [line for line in shown.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in shown


def test_code_in_the_directory_is_not_imported(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil_code.Config", "AutoModelForCausalLM": "evil_code.Model"}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["evil_code.T", None]}}))
    for name in ("evil_code", "tokenization_evil", "sitecustomize", "rustinfer", "torch"):
        (copy / f"{name}.py").write_text(f"open({str(copy.parent / 'ran')!r}, 'w')")
    assert cli.main(["complete", str(copy), "a", "--max-tokens", "1"]) == 0
    assert not (copy.parent / "ran").exists()
    assert "evil_code" not in sys.modules
    assert str(copy) not in sys.path
