"""A random two-layer Llama, built in memory, and an engine over it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

from rustinfer.engine.batch import Shape
from rustinfer.engine.build import Loaded, build
from rustinfer.engine.graphs import Decode
from rustinfer.engine.options import Options
from rustinfer.models.checkpoint import ChatTemplateSource, Checkpoint
from rustinfer.models.config import ModelConfig
from rustinfer.registry import Plugins, load_plugins
from rustinfer.text.tokenizer import byte_characters

VOCAB = 128
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}


def checkpoint(**config: Any) -> Checkpoint:
    made = ModelConfig.from_dict({**CONFIG, **config})
    generator = torch.Generator().manual_seed(3)

    def matrix(*shape: int, scale: float = 0.3) -> Tensor:
        return torch.randn(*shape, generator=generator) * scale

    weights = {"model.embed_tokens.weight": matrix(made.vocab, 64, scale=1.0), "model.norm.weight": torch.ones(64)}
    for i in range(2):
        at = f"model.layers.{i}"
        shapes = {"q": (64, 64), "k": (32, 64), "v": (32, 64), "o": (64, 64)}
        weights |= {f"{at}.self_attn.{n}_proj.weight": matrix(*s) for n, s in shapes.items()}
        shapes = {"gate": (96, 64), "up": (96, 64), "down": (64, 96)}
        weights |= {f"{at}.mlp.{n}_proj.weight": matrix(*s) for n, s in shapes.items()}
        weights |= {f"{at}.{n}_layernorm.weight": torch.ones(64) for n in ("input", "post_attention")}
    return Checkpoint("tiny", "memory", made, weights, torch.float32, None, ChatTemplateSource(), (0,))


def talking(**config: Any) -> Checkpoint:
    """The same with a vocabulary of bytes: token 0 ends a text, token b + 1 is the byte b."""
    made = replace(checkpoint(**config, vocab_size=257), tokenizer_json=tokenizer_json(), name="talking")
    return replace(made, template=ChatTemplateSource(TEMPLATE, {"eos_token": "<end>"}))


def save(directory: Path) -> Path:
    """`talking` as a directory that any engine can open."""
    made = talking()
    directory.mkdir(exist_ok=True)
    save_file(dict(made.weights), directory / "model.safetensors")
    raw = {**made.config.raw, "eos_token_id": 0, "torch_dtype": "float32"}
    (directory / "config.json").write_text(json.dumps(raw))
    (directory / "tokenizer.json").write_text(tokenizer_json())
    settings = {"eos_token": "<end>", "chat_template": TEMPLATE}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return directory


TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}assistant:"


def tokenizer_json() -> str:
    characters = byte_characters()
    vocabulary = {"<end>": 0} | {characters[byte]: byte + 1 for byte in range(256)}
    made = Tokenizer(BPE(vocabulary, []))
    made.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = ByteLevelDecoder()
    made.add_special_tokens(["<end>"])
    return str(made.to_str())


_plugins: list[Plugins] = []


def plugins() -> Plugins:
    if not _plugins:
        _plugins.append(load_plugins())
    return _plugins[0]


def load(options: Options | None = None, made: Checkpoint | None = None, **changes: Any) -> Loaded:
    base = options or Options(max_num_seqs=8, max_num_batched_tokens=64, kv_cache_tokens=1024, threads=1)
    return build(made or checkpoint(), replace(base, **changes), plugins())


class Replayed:
    """A stand-in for a CUDA graph: runs the call, and writes what it returns to where the first run's lies."""

    def __init__(self, call: Callable[[], Any], pool: object) -> None:
        self.call, self.result = call, call()
        self.replays = 0

    @torch.inference_mode()  # as what a graph holds was recorded; replaying one needs no mode
    def __call__(self) -> Any:
        self.replays += 1
        new = self.call()
        for old, value in zip(*((x if isinstance(x, tuple) else (x,)) for x in (self.result, new)), strict=True):
            old.copy_(value)
        return self.result


def replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stand-in be what graphs are."""
    monkeypatch.setattr("rustinfer.engine.graphs.Graph", Replayed)


def with_graphs(loaded: Loaded, *rows: int) -> Loaded:
    """The same engine with decode steps of fixed sizes, as graphs have them."""
    runner: Any = loaded.engine.runner
    (free,) = runner.decodes
    rows = (*(n for n in rows if n < free.rows), free.rows)
    runner.decodes = [Decode(free.model, n, runner.lanes, free._advance, free._draw, (0, 0)) for n in rows]
    for step in reversed(runner.decodes):
        step.warm_up()
    runner.mixed._grain = 16
    for shape in ((16, 3), (16, 9), (48, 3), (48, 9)):
        if shape[1] <= free.rows + 1 and shape[0] <= loaded.engine.scheduler.limits.tokens:
            runner.mixed.record(Shape(*shape), (0, 0))
    return loaded
