from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rustinfer.errors import UserError
from rustinfer.models import download
from rustinfer.models.sources import locate, open_checkpoint
from rustinfer.text import ChatTemplate, Tokenizer

from . import directories, ggufs


def test_a_directory_and_a_file_and_their_names(tmp_path: Path) -> None:
    directory = directories.write(tmp_path / "tiny-llama")
    file = ggufs.write(tmp_path / "small.Q8.gguf", "Q8_0")
    assert open_checkpoint(directory).name == "tiny-llama"
    assert open_checkpoint(str(file)).name == "small.Q8"
    assert open_checkpoint(file, dtype=torch.float32).dtype == torch.float32
    assert locate(directory) == directory


def test_the_load_format_refuses_the_other_kind(tmp_path: Path) -> None:
    directory, file = directories.write(tmp_path / "d"), ggufs.write(tmp_path / "m.gguf")
    open_checkpoint(directory, load_format="safetensors")
    open_checkpoint(file, load_format="gguf")
    for ref, form in ((directory, "gguf"), (file, "safetensors"), (file, "dummy")):
        with pytest.raises(UserError, match="load format"):
            open_checkpoint(ref, load_format=form)
    with pytest.raises(UserError, match="load format 'pickle' is not known; known: auto"):
        open_checkpoint(directory, load_format="pickle")


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("a" * 300, "is no model: File name too long"),
        ("~nobody-here/model", "is no model: Could not determine home"),
        ("smollm3", "'smollm3' is no model: use smollm2, a directory"),
        ("", "'' is no model: use smollm2, a directory"),
        (" ", "' ' is no model: use smollm2, a directory"),
        (None, "None is no model: use smollm2, a directory"),
        ("no/such/path", "there is no such file or directory"),
        ("./missing", "no model|no such"),
        ("missing.gguf", "there is no such file"),
        ("models/missing.gguf", "there is no such file"),
        ("/etc/passwd", "neither a directory nor a .gguf file"),
        ("llama-3.1-8b", "built-in shape without weights: add --load-format dummy"),
    ],
)
def test_references_that_name_nothing(ref: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        open_checkpoint(ref)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"), [("m.safetensors", "name the directory"), ("m.bin", "pickles are not read")]
)
def test_single_files_of_other_kinds(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=message):
        locate(tmp_path / name)


def test_a_directory_hides_a_shape_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    directories.write(tmp_path / "llama-3.2-1b")
    assert open_checkpoint("llama-3.2-1b").config.width == 32


def test_an_alias_is_served_under_its_long_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ggufs.write(tmp_path / "m.gguf")
    monkeypatch.setattr(download, "fetch", lambda alias: file)
    for ref in ("smollm2", "smollm2-135m-instruct"):
        assert open_checkpoint(ref).name == "smollm2-135m-instruct"


def test_a_shape_has_random_weights_and_a_tokenizer_of_bytes() -> None:
    checkpoint = open_checkpoint("llama-3.2-1b", load_format="dummy")
    assert (checkpoint.name, checkpoint.dtype) == ("llama-3.2-1b", torch.bfloat16)
    weight = checkpoint.weights["model.layers.3.self_attn.k_proj.weight"]
    again = open_checkpoint("llama-3.2-1b", load_format="dummy").weights["model.layers.3.self_attn.k_proj.weight"]
    other = checkpoint.weights["model.layers.4.self_attn.k_proj.weight"]
    assert isinstance(weight, torch.Tensor)
    assert isinstance(again, torch.Tensor)
    assert isinstance(other, torch.Tensor)
    assert tuple(weight.shape) == (512, 2048)
    assert torch.equal(weight, again)
    assert not torch.equal(weight, other)
    assert 0.015 < float(weight.float().std()) < 0.025
    norm = checkpoint.weights["model.norm.weight"]
    assert isinstance(norm, torch.Tensor)
    assert bool((norm == 1).all())
    assert "lm_head.weight" not in checkpoint.weights
    with pytest.raises(KeyError):
        checkpoint.weights["model.layers.99.self_attn.k_proj.weight"]
    tokenizer = Tokenizer(checkpoint.tokenizer_json or "")
    assert tokenizer.vocab_size == checkpoint.config.vocab == 128256
    assert tokenizer.encode("né") == [110, 195, 169]
    assert tokenizer.decode([110, 195, 169, 5000, 128009]) == "né 5000"
    prompt = ChatTemplate(checkpoint.template.source, **checkpoint.template.special_tokens).render(
        [{"role": "user", "content": "hi"}]
    )
    assert prompt == "user: hi\nassistant: "
