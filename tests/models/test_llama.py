"""Our wiring against transformers' own Llama and Mistral, on tiny random checkpoints in float32."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rustinfer.models import Llama, Parameters, Step
from rustinfer.models.config import ModelConfig
from rustinfer.models.errors import CheckpointError
from rustinfer.registry import Binder, Policy, Target, load_plugins

transformers = pytest.importorskip("transformers")
PAGE, PAGES = 16, 8
SMALL = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-2": ("Llama", {"tie_word_embeddings": False, "rope_theta": 10000.0}),
    "llama-3.2": (
        "Llama",
        {"num_key_value_heads": 2, "tie_word_embeddings": True, "rope_scaling": LLAMA3, "rope_theta": 500000.0},
    ),
    "linear rope": ("Llama", {"num_key_value_heads": 1, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    "yarn": ("Llama", {"num_key_value_heads": 2, "rope_scaling": YARN}),
    "head_dim and biases": ("Llama", {"num_key_value_heads": 2, "head_dim": 24, "attention_bias": True}),
    "mistral": ("Mistral", {"num_key_value_heads": 2, "head_dim": 32, "sliding_window": 20}),
}


@dataclass
class Pair:
    """A transformers model and ours over the same weights."""

    theirs: Any
    ours: Llama


def build(family: str, options: dict[str, Any], policy: Policy | None = None) -> Pair:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SMALL, max_position_embeddings=128, **options)
    config._attn_implementation = "eager"
    theirs = getattr(transformers, f"{family}ForCausalLM")(config).float().eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 1.0)
    made = ModelConfig.from_dict({**config.to_dict(), "architectures": [f"{family}ForCausalLM"]})
    binder = Binder(load_plugins().registry, Target(torch.device("cpu"), torch.float32), policy)
    weights = {name: tensor.detach() for name, tensor in theirs.state_dict().items()}
    spec = Llama.cache_spec(made)
    shape = (PAGES, spec.kv_heads, PAGE, spec.head_dim)
    cache = [(torch.full(shape, torch.nan), torch.full(shape, torch.nan)) for _ in range(spec.layers)]
    return Pair(theirs, Llama(made, binder, Parameters(weights), cache))


def run(model: Llama, tokens: Tensor, chunks: list[int]) -> Tensor:
    """Logits of every position, computed chunk by chunk over scattered pages."""
    pages = torch.tensor([[5, 2, 7, 0]], dtype=torch.int32)
    out, start = [], 0
    for size in chunks:
        at = torch.arange(start, start + size)
        step = Step(
            tokens=tokens[at],
            positions=at,
            slots=pages[0, at // PAGE].long() * PAGE + at % PAGE,
            query_starts=torch.tensor([0, size], dtype=torch.int32),
            lengths=torch.tensor([start + size], dtype=torch.int32),
            pages=pages,
        )
        out.append(model.logits(model.forward(step), torch.arange(size)))
        start += size
    return torch.cat(out)


@pytest.mark.parametrize("name", SHAPES)
def test_log_probabilities_equal_transformers(name: str) -> None:
    with torch.inference_mode():
        pair = build(*SHAPES[name])
        tokens = torch.randint(0, 97, (50,))
        want = pair.theirs(tokens[None]).logits[0].log_softmax(-1)
        got = run(pair.ours, tokens, [50]).log_softmax(-1)
    assert (got - want).abs().max() < 1e-4
    assert torch.equal(got.argmax(-1), want.argmax(-1))


@pytest.mark.parametrize("name", ["llama-3.2", "mistral"])
@pytest.mark.parametrize("chunks", [[17, 16, 17], [1, 48, 1], [1] * 50], ids=["chunks", "uneven", "token by token"])
def test_chunks_agree_with_one_go(name: str, chunks: list[int]) -> None:
    with torch.inference_mode():
        pair = build(*SHAPES[name])
        tokens = torch.randint(0, 97, (50,))
        want, got = run(pair.ours, tokens, [50]), run(pair.ours, tokens, chunks)
    assert (got.log_softmax(-1) - want.log_softmax(-1)).abs().max() < 1e-4


def test_where_only_last_rows_are_asked_for_the_last_layer_computes_those_alone() -> None:
    with torch.inference_mode():
        pair = build(*SHAPES["llama-3.2"])
        tokens, starts = torch.randint(0, 97, (50,)), torch.tensor([0, 20, 20, 50], dtype=torch.int32)
        at = torch.cat([torch.arange(20), torch.arange(30)])
        pages = torch.tensor([[5, 2, 7, 0], [1, 1, 1, 1], [3, 4, 6, 1]], dtype=torch.int32)
        owners = torch.tensor([0] * 20 + [2] * 30)
        slots = pages[owners, at // PAGE].long() * PAGE + at % PAGE
        step = Step(tokens, at, slots, starts, torch.tensor([20, 0, 30], dtype=torch.int32), pages)
        want = pair.ours.forward(step)[[19, 49]]
        last, rows = pair.ours.forward.layers[-1].mlp, []
        pair.ours.forward.layers[-1].mlp = lambda x, residual: rows.append(len(x)) or last(x, residual)  # type: ignore[method-assign]
        got = pair.ours.forward(replace(step, last=starts[1:].long() - 1))
    assert rows == [3]
    assert (got[[0, 2]] - want).abs().max() < 1e-4


def test_every_op_pinned_to_its_reference_gives_the_same_answer() -> None:
    registry = load_plugins().registry
    with torch.inference_mode():
        usual = build(*SHAPES["llama-3.2"])
        pinned = build(*SHAPES["llama-3.2"], policy=Policy(pins=dict.fromkeys(registry.ops, "reference")))
        tokens = torch.randint(0, 97, (40,))
        assert (run(usual.ours, tokens, [40]) - run(pinned.ours, tokens, [40])).abs().max() < 1e-3


@pytest.mark.parametrize(("field", "value"), [("hidden_act", "gelu"), ("mlp_bias", True)])
def test_what_the_wiring_would_get_wrong_is_refused(field: str, value: object) -> None:
    with pytest.raises(CheckpointError, match=field):
        build("Llama", {field: value})
